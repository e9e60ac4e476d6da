"""Which images the model may judge: what the header says, and whether there is contrast at all.

Headers are often empty and sometimes wrong, so that silence is no refusal. What kind of object it
is and how old the patient was the header alone knows, and is believed. What body part and view it
shows is a doubt (`doubt`), which clear pixels overrule: `classifier.frontal` decides.
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

REASONS = {
    "not_a_radiograph": "By its kind or header it is CT, MR, ultrasound or another technique",
    "multi_frame": "More than one frame",
    "too_small": "The shorter side has fewer pixels than the network sees",
    "too_large": "More pixels than are read",
    "secondary_capture": "A secondary capture, where the site has not configured them",
    "for_processing": "Raw detector data, where the site has not configured them",
    "age_outside_model": "The patient was younger than those that the model may judge",
    "no_contrast": "The image is blank",
    "burnt_out": "Most of the image is as good as black or white",
    "not_chest": "The header names another body part, and the pixels are not clearly a chest's",
    "not_frontal": "The header names another view, and the pixels are not clearly frontal",
    "not_frontal_chest": "By its pixels the image is no frontal chest radiograph",
}
"""Every code of a refusal, and what it says."""

MIN_SIDE = 224
"""Pixels of the shorter side; the network sees 224, and an enlarged image shows it nothing more."""

MIN_SPREAD = 4
"""Grey levels between the 5th and the 95th percentile below which the image is blank."""

MIN_MIDTONES = 0.4
"""Share of pixels between the darkest and the brightest sixteenth of the greys; with fewer the
image is burnt out. Of 1,395 published radiographs none has below 0.7."""

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


SLICE_ATTRIBUTES = (
    "GantryDetectorTilt",
    "ReconstructionDiameter",
    "ConvolutionKernel",
    "RepetitionTime",
    "EchoTime",
    "MagneticFieldStrength",
    "SequenceOfUltrasoundRegions",
    "TransducerData",
    "SliceThickness",
    "ImageOrientationPatient",
)
"""Of CT, MR and ultrasound alone: a secondary capture of one often keeps them (PS3.3 annex A)."""

_LATERAL = re.compile(r"\b(lat|lateral)\b", re.IGNORECASE)
_FRONTAL = re.compile(r"\b(pa|ap|frontal)\b", re.IGNORECASE)
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_DAY = re.compile(r"(\d{4})(\d{2})(\d{2})")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


def check_header(
    dataset: Dataset, also: Collection[ExtraKind] = (), min_age_years: int | None = None
) -> None:
    """What no pixel can answer. `also` names the kinds of image that a site has configured beyond
    CR and DX; `min_age_years` is the model's.

    Raises:
        NotEligible: with one of the codes of this module.
    """
    for check in (_kind, _size):
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
    years = age_years(dataset)
    if min_age_years is not None and years is not None and years < min_age_years:
        raise NotEligible(
            "age_outside_model",
            f"The patient was younger than {min_age_years} years; the model knows no children.",
        )


def doubt(dataset: Dataset) -> NotEligible | None:
    """What the header says against a frontal chest radiograph, for the pixels to decide."""
    for check in (_slice, _part, _view):
        found = check(dataset)
        if found is not None:
            return found
    return None


def age_years(dataset: Dataset) -> float | None:
    """Of the patient at the study, by Patient's Age or the two dates; None where neither says."""
    stated = _AGE.fullmatch(str(dataset.get("PatientAge") or "").strip().upper())
    if stated is not None:
        return int(stated[1]) / _PER_YEAR[stated[2]]
    taken = dataset.get("AcquisitionDate") or dataset.get("StudyDate")
    days = [_DAY.match(str(day or "")) for day in (dataset.get("PatientBirthDate"), taken)]
    if days[0] is None or days[1] is None:
        return None
    born, seen = (tuple(map(int, day.groups())) for day in days if day is not None)
    years = seen[0] - born[0] - (seen[1:] < born[1:])
    return float(years) if years >= 0 else None


def check_contrast(grey: Grey) -> None:
    """Raises: NotEligible: the displayed image is blank or burnt out."""
    grey = grey[::8, ::8]
    low, high = np.percentile(grey, (5, 95))
    if high - low < MIN_SPREAD:
        raise NotEligible("no_contrast", "The image is blank: it has no contrast.")
    middle = float(((grey >= 16) & (grey < 240)).mean())
    if middle < MIN_MIDTONES:
        raise NotEligible(
            "burnt_out",
            f"The image is burnt out: {1 - middle:.0%} of it is as good as black or white.",
        )


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


def _slice(dataset: Dataset) -> NotEligible | None:
    kind = [str(word).upper() for word in dataset.get("ImageType") or ()]
    stated = [keyword for keyword in SLICE_ATTRIBUTES if dataset.get(keyword) not in (None, "")]
    if "AXIAL" not in kind and not stated:
        return None
    says = stated[0] if stated else "an axial image"
    return NotEligible(
        "not_a_radiograph", f"The header is that of a slice or an ultrasound image ({says})."
    )


def _part(dataset: Dataset) -> NotEligible | None:
    part = re.sub(r"[^A-Z]", "", str(dataset.get("BodyPartExamined") or "").upper())
    if part in OTHER_PARTS:
        return NotEligible("not_chest", f"The header says {_shown(part)}, not chest.")
    for meaning in _meanings(dataset, "AnatomicRegionSequence"):
        normal = re.sub(r"[^A-Z]", "", meaning.upper())
        if normal in OTHER_PARTS and not CHEST_MEANING.search(meaning):
            return NotEligible("not_chest", f"The header says {_shown(meaning)}, not chest.")
    return None


def _view(dataset: Dataset) -> NotEligible | None:
    stated = [str(dataset.get(key) or "").upper() for key in ("ViewPosition", "PatientPosition")]
    lateral = [view for view in stated if view in NOT_FRONTAL]
    lateral += [
        meaning
        for meaning in _meanings(dataset, "ViewCodeSequence")
        if NOT_FRONTAL_MEANING.search(meaning)
    ]
    described = str(dataset.get("SeriesDescription") or "")
    if not lateral and _LATERAL.search(described) and not _FRONTAL.search(described):
        lateral = ["lateral by the series description"]
    if not lateral:
        return None
    return NotEligible(
        "not_frontal",
        f"The view is {_shown(lateral[0])}; only frontal views (PA, AP) are analysed.",
    )


def _meanings(dataset: Dataset, keyword: str) -> Iterator[str]:
    for item in dataset.get(keyword) or ():
        yield str(item.get("CodeMeaning") or "")


def _shown(text: str) -> str:
    """A header's word, short and printable, for a sentence that people read."""
    return "".join(c for c in text if c.isprintable())[:32]
