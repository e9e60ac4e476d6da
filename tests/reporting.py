"""Studies, headers and validators, for the tests of what is reported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from daemon.report import Device
from daemon.simulate import Form, make_object
from daemon.uids import derive_uid
from storage.records import (
    AnsweredInstance,
    Arrival,
    Finding,
    Instance,
    InstanceId,
    Result,
    ResultStatus,
    Sha256,
    StudyId,
    StudyJob,
    Token,
)

CREATED_AT = 1_740_830_400.25  # 2025-03-01 12:00:00.25 UTC
DEVICE = Device("Hilum", "0.1.0", derive_uid("device", "test"), "HILUM")
FINDINGS = (
    Finding("pneumonia", "233604007", "SCT", "Pneumonia", 0.8734567, 0.5),
    Finding("infiltration", "112121", "DCM", "Infiltrate", 0.2, 0.45),
    Finding("atelectasis", "46621007", "SCT", "Atelectasis", 0.1, 0.3),
    Finding("pleural_effusion", "60046008", "SCT", "Pleural effusion", 0.45, 0.45),
    Finding("nodule_or_mass", "309529002", "SCT", "Lung mass", 0.01, 0.2),
)
ANALYSED = Result(ResultStatus.ANALYSED, "hilum-vgg16 1.0.0", FINDINGS)
LATERAL = Result(
    ResultStatus.NOT_ANALYSED,
    reason_code="not_frontal",
    reason="The header says LL, not a frontal view.",
)


def header(number: int = 1, form: Form | None = None, **changes: Any) -> Dataset:
    """A CR or DX header without pixels; a change to None empties, to ... removes."""
    pixels = np.full((64, 48), number, dtype=np.uint8)
    dataset = make_object(pixels, form or Form())
    del dataset.PixelData
    for keyword, value in changes.items():
        if value is ...:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return dataset


def study(*images: tuple[Dataset, Result], version: int = 1, before: str | None = None) -> StudyJob:
    """A claim on a study of these images; ids count from 1."""
    return StudyJob(
        id=StudyId(1),
        study_instance_uid=str(images[0][0].StudyInstanceUID),
        version=version,
        predecessor_uid=before,
        token=Token(1),
        instances=tuple(
            _answered(number, one, result) for number, (one, result) in enumerate(images, 1)
        ),
    )


def headers(*images: tuple[Dataset, Result]) -> dict[InstanceId, Dataset | None]:
    """The headers as the report takes them, by the ids that `study` gives."""
    return {InstanceId(number): one for number, (one, _) in enumerate(images, 1)}


def _answered(number: int, one: Dataset, result: Result) -> AnsweredInstance:
    arrival = Arrival(
        sop_instance_uid=str(one.SOPInstanceUID),
        sop_class_uid=str(one.SOPClassUID),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        sha256=Sha256(f"{number:064x}"),
        size_bytes=1,
        calling_ae="CR1",
        called_ae="HILUM",
        peer_address="127.0.0.1",
        received_at=CREATED_AT,
    )
    return AnsweredInstance(Instance(InstanceId(number), arrival, StudyId(1)), result)


def dciodvfy(file: Path) -> list[str]:
    """The errors that dicom3tools' dciodvfy finds in a file; its warnings are left out."""
    program = Path(sys.executable).with_name("dciodvfy")
    done = subprocess.run(
        [str(program), "-new", str(file)], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    if not any(line in {"ComprehensiveSR", "CRImage", "DXImageForPresentation", "SCImage"}
               for line in lines):  # fmt: skip
        return [f"dciodvfy did not recognise the object: {lines}"]
    return [line for line in lines if line.startswith("Error")]


def content(dataset: Dataset, *path: str) -> list[Dataset]:
    """The content items at a path of concept code meanings, in their order."""
    found = [dataset]
    for meaning in path:
        found = [
            child
            for item in found
            for child in item.get("ContentSequence", ())
            if child.ConceptNameCodeSequence[0].CodeMeaning == meaning
        ]
    return found
