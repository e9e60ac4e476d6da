"""What radiologists have said of a study, as a report needs it."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.report.codes import Code


@dataclass(frozen=True, slots=True)
class Reviewer:
    """The radiologist who answers for a report."""

    name: str  # as VR PN: family^given^middle^prefix^suffix
    organization: str = ""
    login: str = ""  # stands for a name that no character set of the report's can hold


@dataclass(frozen=True, slots=True)
class Word:
    """What a radiologist says of one finding in one image; `present` is None where unsure."""

    sop_instance_uid: str
    finding: str  # its key, for instance "pleural_effusion"
    code: Code
    present: bool | None


@dataclass(frozen=True, slots=True)
class Said:
    """One radiologist's review: UNIX seconds of the moment, and a word where one was given.

    What has no word is confirmed.
    """

    reviewer: Reviewer
    at: float
    words: tuple[Word, ...] = ()
    note: str = ""
