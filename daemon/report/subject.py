"""What a report is about: the device that makes it, the images, and what marks a finding."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from pydicom.dataset import Dataset

from daemon.report.codes import Code
from daemon.report.header import text
from daemon.report.items import Reference
from daemon.uids import MODEL_NAME, derive_uid
from storage.records import AnsweredInstance, Finding, Result, ResultStatus

# Modalities send components with leading zeros, which PS3.5 section 9.1 forbids
_UID = re.compile(r"(?=.{1,64}$)\d+(\.\d+)*")


@dataclass(frozen=True, slots=True)
class Device:
    """Who makes the report: the values of TID 1004 and of ContributingEquipmentSequence.

    `is_own` in daemon.uids knows our objects by the model name.
    """

    manufacturer: str
    software_version: str
    device_uid: str
    ae_title: str  # at most 16 characters, also the station name
    model_name: str = MODEL_NAME

    @classmethod
    def of(cls, ae_title: str) -> Device:
        """Return this installation: its release, and a UID of host name and AE title."""
        device_uid = derive_uid("device", platform.node(), ae_title)
        try:
            release = version("hilum")
        except PackageNotFoundError:  # run from a checkout
            release = "unreleased"
        return cls(MODEL_NAME, release, device_uid, ae_title)


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the study as the report needs it; no header where it could not be read."""

    answered: AnsweredInstance
    header: Dataset | None

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID, as negotiated when it arrived."""
        return self.answered.instance.arrival.sop_class_uid

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID, as announced when it arrived."""
        return self.answered.instance.arrival.sop_instance_uid

    @property
    def result(self) -> Result:
        """What was found in it, or why not."""
        return self.answered.result

    @property
    def analysed(self) -> bool:
        """Whether it was classified."""
        return self.result.status is ResultStatus.ANALYSED

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID, "" where nothing can refer to the image (PS3.3 10.3).

        That is, where its series is unknown or one of its UIDs is none.
        """
        uid = "" if self.header is None else text(self.header, "SeriesInstanceUID")
        return uid if _UID.fullmatch(uid) and _UID.fullmatch(self.sop_instance_uid) else ""

    @property
    def reference(self) -> Reference:
        """The image as others refer to it."""
        return Reference(self.sop_class_uid, self.sop_instance_uid)


@dataclass(frozen=True, slots=True)
class Mark:
    """What shows a positive finding: its region on the image, and the object that explains it."""

    region: tuple[tuple[float, float], ...] = ()  # closed, (column, row) on the source image
    explanation: Reference | None = None
    series_instance_uid: str = ""  # of the explanation


Marks = Mapping[tuple[str, str], Mark]
"""By SOP Instance UID of the image and name of the finding."""


def plain(value: str, longest: int = 10240) -> str:
    """Return text that every character set of DICOM can hold: printable ASCII alone."""
    ascii_only = value.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in ascii_only)[:longest]


def finding_code(finding: Finding) -> Code:
    """Return the finding's code, its meaning short enough for LO (PS3.5 table 6.2-1)."""
    return Code(finding.code_value, finding.code_scheme, plain(finding.code_meaning, 64))
