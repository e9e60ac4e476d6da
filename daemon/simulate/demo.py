"""The fifteen objects of `hilum demo`: twelve radiographs, each in a form of its own, and three
awkward ones.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from daemon.simulate.form import CannotSimulate, Damage, Form, Kind, Modality, Voi
from daemon.simulate.objects import Patient, make_object

FORMS = (
    Form(Kind.CR, 12, inverted=True),
    Form(Kind.DX, 16, transfer_syntax=JPEG2000Lossless),
    Form(Kind.DX, 14, voi=Voi.SIGMOID, transfer_syntax=ImplicitVRLittleEndian),
    Form(Kind.CR, 10, modality=Modality.RESCALE, transfer_syntax=RLELossless),
    Form(Kind.DX, 12, voi=Voi.LUT, transfer_syntax=JPEGLosslessSV1),
    Form(Kind.CR, 8, voi=Voi.NONE, transfer_syntax=JPEGBaseline8Bit),
    Form(Kind.DX, 12, inverted=True, transfer_syntax=JPEGLSLossless),
    Form(Kind.CR, 12, modality=Modality.LUT, transfer_syntax=ExplicitVRLittleEndian),
    Form(Kind.DX, 16, voi=Voi.LINEAR_EXACT, transfer_syntax=ExplicitVRBigEndian),
    Form(Kind.CR, 15, inverted=True, voi=Voi.LUT, transfer_syntax=JPEG2000),
    Form(Kind.DX, 12, transfer_syntax=JPEGLossless),
    Form(Kind.CR, 12, voi=Voi.NONE, transfer_syntax=JPEGLSNearLossless),
)
_NOT_CHEST = Form(Kind.CR, 12)  # its header lies
_ENLARGED = 4  # times: smaller images are refused for their size
_DAMAGED = Form(Kind.DX, 12, transfer_syntax=JPEG2000Lossless, damage=Damage.GARBLED)


@dataclass(frozen=True, slots=True)
class SimulatedObject:
    """An object together with what a person wants to know of it."""

    dataset: Dataset
    name: str
    form: str = ""
    label: str = ""

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return str(self.dataset.SOPInstanceUID)

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        return str(self.dataset.StudyInstanceUID)


def demo_objects(radiographs: Path, not_chest: Path) -> list[SimulatedObject]:
    """Return the objects in the order in which the demo sends them.

    `radiographs` holds PNG files and labels.csv; `not_chest` is a DICOM image of something
    else. Each object is a study of its own, but for the one that comes twice. Raises
    CannotSimulate where the folder does not hold the radiographs.
    """
    table = radiographs / "labels.csv"
    if not table.is_file():
        raise CannotSimulate(f"There is no {table}: the demo needs its radiographs.")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    chests = [
        _radiograph(radiographs, row, number, FORMS[number % len(FORMS)])
        for number, row in enumerate(rows)
    ]
    other = SimulatedObject(
        make_object(_slice(not_chest), _NOT_CHEST, _patient(len(rows), {})),
        "CT slice",
        str(_NOT_CHEST),
        "not a chest radiograph",
    )
    damaged = _radiograph(radiographs, rows[0], len(rows) + 1, _DAMAGED)
    again = replace(chests[0], form="the first one again")
    return [*chests, other, again, damaged]


def _radiograph(folder: Path, row: dict[str, str], number: int, form: Form) -> SimulatedObject:
    dataset = make_object(folder / row["image"], form, _patient(number, row))
    return SimulatedObject(dataset, Path(row["image"]).stem, str(form), row["labels"])


def _patient(number: int, row: dict[str, str]) -> Patient:
    """A synthetic patient; of the published one only sex and age are kept."""
    studied = Patient().studied_at
    born = f"{studied.year - int(row.get('age') or 50)}0101"
    return Patient(
        name=f"Demo^Patient {number + 1}",
        id=f"DEMO-{number + 1:04}",
        birth_date=born,
        sex=row.get("sex") or "O",
        accession=f"DEMO-A{number + 1}",
        study_id=f"DEMO-S{number + 1}",
    )


def _slice(path: Path) -> NDArray[Any]:
    pixels: NDArray[np.float64] = dcmread(path).pixel_array.astype(np.float64)
    span = max(float(np.ptp(pixels)), 1.0)
    grey = np.asarray(np.rint((pixels - pixels.min()) / span * 255), dtype=np.uint8)
    return np.kron(grey, np.ones((_ENLARGED, _ENLARGED), dtype=np.uint8))
