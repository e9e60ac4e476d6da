"""Studies, headers and validators, for the tests of what is reported."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from classifier.preprocessing import Placement
from daemon.report import Device
from daemon.report.attention import pack
from daemon.report.study import Encoded, HeatMap, StudyReport, build_study
from daemon.simulate import Form, make_object, to_bytes
from daemon.uids import derive_uid
from storage.errors import ObjectMissing
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


def attended(placed: Placement, result: Result = ANALYSED, at: tuple[int, int] = (4, 9)) -> Result:
    """The result with maps that are highest in one cell (row, column) of 14 x 14."""
    maps = np.zeros((len(result.findings), 14, 14), dtype=np.float32)
    row, column = at
    maps[:, row - 1 : row + 2, column - 1 : column + 2] = 0.4
    maps[:, row, column] = 2.0
    return dataclasses.replace(result, attention=pack(maps, placed))


def radiograph(number: int = 1, form: Form | None = None, **changes: Any) -> Dataset:
    """A small CR or DX object with pixels, 320 rows of 256; changes as in `header`."""
    grey = np.zeros((320, 256), dtype=np.uint8)
    grey[20:300, 16:240] = 40 + np.arange(224, dtype=np.uint8)[np.newaxis] // 2
    grey[30:60, 20:50] = 250  # a lead marker on the left of the image
    grey[0, 0] = number
    dataset = make_object(grey, form or Form())
    for keyword, value in changes.items():
        if value is ...:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return dataset


PLACED = Placement(rows=320, columns=256, top=0.0, left=-32.0, scale=320 / 224, side=224)


def sent(
    *images: tuple[Dataset, Result],
    heat_map: HeatMap = "sc",
    version: int = 1,
    before: str | None = None,
    missing: Collection[int] = (),
) -> StudyReport:
    """Everything that is sent for these images; the files of those in `missing` are gone."""
    job = study(*images, version=version, before=before)
    files = {
        answered.instance.arrival.sha256: to_bytes(one)
        for number, (answered, (one, _)) in enumerate(zip(job.instances, images, strict=True), 1)
        if number not in missing
    }

    def read(sha256: Sha256) -> bytes:
        if sha256 not in files:
            raise ObjectMissing
        return files[sha256]

    return build_study(job, read, DEVICE, heat_map, CREATED_AT)


def decoded(one: Encoded) -> Dataset:
    """An object of ours, read back."""
    return dcmread(BytesIO(one.content))


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
    answered_at = CREATED_AT - 5
    return AnsweredInstance(Instance(InstanceId(number), arrival, StudyId(1)), result, answered_at)


_KINDS = frozenset(
    {"ComprehensiveSR", "BasicTextSR", "CRImage", "DXImageForPresentation", "SCImage",
     "GrayscaleSoftcopyPresentationState"}
)  # fmt: skip


def dciodvfy(file: Path) -> list[str]:
    """The errors that dicom3tools' dciodvfy finds in a file; its warnings are left out."""
    program = Path(sys.executable).with_name("dciodvfy")
    done = subprocess.run(
        [str(program), "-new", str(file)], capture_output=True, text=True, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    if not _KINDS.intersection(lines):
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
