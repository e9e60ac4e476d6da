"""Which images the model may judge: what the header says, and whether there is contrast at all.

Headers are often empty and sometimes wrong, so that silence is no refusal: an image is refused
for what its header states, never for what it leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from classifier.decode import MAX_PIXELS
from classifier.errors import NotEligible
from classifier.pixels import Grey

ExtraKind = Literal["secondary_capture", "for_processing"]

MIN_SIDE = 224
"""Pixels of the shorter side; the network sees 224, and an enlarged image shows it nothing more."""

MIN_SPREAD = 4
"""Grey levels between the 5th and the 95th percentile below which the image is blank."""

SOP_CLASSES: frozenset[UID] = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        SecondaryCaptureImageStorage,
    }
)

RADIOGRAPHY = frozenset({"CR", "DX", "RG", "OT", "SC"})
"""Modality: computed and digital radiography, film scans, and what secondary captures say."""

NOT_FRONTAL = frozenset({"LL", "RL", "LAT", "LATERAL", "LLD", "RLD", "LLO", "RLO", "OBLIQUE"})
"""ViewPosition (PS3.3 section C.8.7.1.1.1 and C.8.11.5): laterals, decubitus and obliques."""

NOT_FRONTAL_MEANING = re.compile(r"\b(lateral|oblique|decubitus)\b", re.IGNORECASE)
CHEST_MEANING = re.compile(r"\b(chest|thorax|thoracic|lungs?|pleura|mediastinum)\b", re.IGNORECASE)

OTHER_PARTS = frozenset(
    """
    ABDOMEN ABDOMENPELVIS ANKLE ARM BLADDER BRAIN BREAST BUTTOCK CALCANEUS CALF CAROTID
    CEREBELLUM CLAVICLE COCCYX COLON CSPINE CTSPINE ELBOW ELBOWJOINT EXTREMITY EYE FACE
    FEMUR FINGER FOOT FOREARM HAND HEAD HEADNECK HIP HIPJOINT HUMERUS JAW KIDNEY KNEE LEG
    LIVER LSPINE LSSPINE LUMBARSPINE MANDIBLE MAXILLA NECK NOSE ORBIT PANCREAS PATELLA
    PELVIS PENIS RIB RIBCAGE RIBS SACRUM SCALP SCAPULA SCROTUM SHOULDER SIJOINT SINUS
    SKULL SPINE SSPINE STERNUM STOMACH TESTIS THIGH THUMB TIBIAFIBULA TLSPINE TMJ TOE
    TSPINE UTERUS WHOLEBODY WRIST ZYGOMA
    """.split()  # noqa: SIM905 (a table of words reads better than 80 quoted ones)
)
"""BodyPartExamined (PS3.16 annex L, and terms seen in practice) that is not the chest."""


def check_header(dataset: Dataset, also: Collection[ExtraKind] = ()) -> None:
    """`also` names the kinds of image that a site has configured beyond CR and DX.

    Raises:
        NotEligible: with one of the codes of this module.
    """
    for check in (_kind, _size, _part, _view):
        check(dataset)
    if "secondary_capture" not in also and dataset.SOPClassUID == SecondaryCaptureImageStorage:
        raise NotEligible(
            "secondary_capture",
            "Secondary captures are analysed where classifier.also_classify names them.",
        )
    if "for_processing" not in also and (
        dataset.SOPClassUID == DigitalXRayImageStorageForProcessing
        or dataset.get("PresentationIntentType") == "FOR PROCESSING"
    ):
        raise NotEligible(
            "for_processing",
            "The image is raw detector data (For Processing); send the one For Presentation.",
        )


def check_contrast(grey: Grey) -> None:
    """Raises: NotEligible: the displayed image is blank."""
    low, high = np.percentile(grey[::8, ::8], (5, 95))
    if high - low < MIN_SPREAD:
        raise NotEligible("no_contrast", "The image is blank: it has no contrast.")


def _kind(dataset: Dataset) -> None:
    modality = str(dataset.get("Modality") or "").upper()
    if modality and modality not in RADIOGRAPHY:
        raise NotEligible(
            "not_a_radiograph", f"The modality is {_shown(modality)}, not projection radiography."
        )
    if dataset.get("SOPClassUID") not in SOP_CLASSES:
        raise NotEligible("not_a_radiograph", "The object is not a projection radiograph.")
    frames = str(dataset.get("NumberOfFrames") or 1)
    if frames != "1":
        raise NotEligible("multi_frame", f"The object has {frames} frames; one is analysed.")


def _size(dataset: Dataset) -> None:
    rows, columns = (int(dataset.get(key) or 0) for key in ("Rows", "Columns"))
    if rows * columns > MAX_PIXELS:
        raise NotEligible(
            "too_large",
            f"The image has {rows} x {columns} pixels; at most {MAX_PIXELS:,} are read.",
        )
    if 0 < min(rows, columns) < MIN_SIDE:
        raise NotEligible(
            "too_small",
            f"The image has {rows} x {columns} pixels; the shorter side must have {MIN_SIDE}.",
        )


def _part(dataset: Dataset) -> None:
    part = re.sub(r"[^A-Z]", "", str(dataset.get("BodyPartExamined") or "").upper())
    if part in OTHER_PARTS:
        raise NotEligible("not_chest", f"The header says {_shown(part)}, not chest.")
    for meaning in _meanings(dataset, "AnatomicRegionSequence"):
        normal = re.sub(r"[^A-Z]", "", meaning.upper())
        if normal in OTHER_PARTS and not CHEST_MEANING.search(meaning):
            raise NotEligible("not_chest", f"The header says {_shown(meaning)}, not chest.")


def _view(dataset: Dataset) -> None:
    stated = [str(dataset.get(key) or "").upper() for key in ("ViewPosition", "PatientPosition")]
    lateral = [view for view in stated if view in NOT_FRONTAL]
    lateral += [
        meaning
        for meaning in _meanings(dataset, "ViewCodeSequence")
        if NOT_FRONTAL_MEANING.search(meaning)
    ]
    if lateral:
        raise NotEligible(
            "not_frontal",
            f"The view is {_shown(lateral[0])}; only frontal views (PA, AP) are analysed.",
        )


def _meanings(dataset: Dataset, keyword: str) -> Iterator[str]:
    for item in dataset.get(keyword) or ():
        yield str(item.get("CodeMeaning") or "")


def _shown(text: str) -> str:
    """A header's word, short and printable, for a sentence that people read."""
    return "".join(c for c in text if c.isprintable())[:32]
