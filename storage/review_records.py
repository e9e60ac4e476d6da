"""What a radiologist said of a study, as values. Times are UNIX seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from storage.records import InstanceId, Sha256

ReviewId = NewType("ReviewId", int)


class ReviewKind(StrEnum):
    """When the reader saw the computer's result."""

    FIRST_READ = "first_read"  # not before this was stored; it makes labels, and no report
    REVIEW = "review"  # before; it makes a report and labels


class ReviewState(StrEnum):
    """A review's way to a report.

    ::

        pending --its time has come--> effective --a version names it--> reported
           '--undone, or the same reader wrote anew--> undone

    A first read is effective at once, as the result is shown from then on, and stays so.
    """

    PENDING = "pending"  # stored, and can be undone
    UNDONE = "undone"  # taken back in time; kept
    EFFECTIVE = "effective"  # stands: labels are written, and the next version will say it
    REPORTED = "reported"  # said in a version of the report


class Verdict(StrEnum):
    """What the reader says of one finding in one image."""

    AGREE = "agree"  # as the computer has it
    DISAGREE = "disagree"  # the other way round
    UNSURE = "unsure"
    ADDED = "added"  # present, and the computer has not named it in this image
    PRESENT = "present"  # of a first read
    ABSENT = "absent"  # of a first read


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads: the account, and the name as it stood on that day."""

    account: int
    login: str
    person_name: str  # as VR PN: family^given^middle^prefix^suffix
    organization: str = ""


@dataclass(frozen=True, slots=True)
class CodedFinding:
    """A finding that may be named of an image."""

    name: str  # its key, for instance "pleural_effusion"
    code_value: str
    code_scheme: str
    code_meaning: str


@dataclass(frozen=True, slots=True)
class NewAnswer:
    """What is said of one finding; `coded` where the computer may not know it."""

    sop_instance_uid: str
    finding: str
    verdict: Verdict
    coded: CodedFinding | None = None


@dataclass(frozen=True, slots=True)
class NewReview:
    """A review as it comes from the page. `seen_version`: of the report that the reader saw."""

    study_instance_uid: str
    kind: ReviewKind
    reader: Reader
    seen_version: int
    answers: tuple[NewAnswer, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One stored answer. `present`: what it comes to, None where the reader is unsure."""

    sop_instance_uid: str
    finding: CodedFinding
    verdict: Verdict
    present: bool | None


@dataclass(frozen=True, slots=True)
class Review:
    """A stored review."""

    id: ReviewId
    study_instance_uid: str
    kind: ReviewKind
    state: ReviewState
    reader: Reader
    seen_version: int
    seen_revision: int  # of the results that the version shows
    note: str
    created_at: float
    effective_at: float  # until then it can be undone
    undone_at: float | None
    version: int | None  # of the report that says it
    answers: tuple[Answer, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Label:
    """A finding that a radiologist has judged in an image: what training learns from."""

    instance_id: InstanceId
    sop_instance_uid: str
    sha256: Sha256  # of the image's file
    study_instance_uid: str
    finding: str
    present: bool
    account: int
    reviewer: str  # the account's login
    labelled_at: float
    source: str  # the kind of reading: "review", or "first_read" without the computer's result


@dataclass(frozen=True, slots=True)
class DoubleRead:
    """How often two readers said what of one finding, each of the same images."""

    finding: str
    first: str  # login
    second: str
    both_present: int
    first_only: int
    second_only: int
    both_absent: int

    @property
    def images(self) -> int:
        """How many images both have judged."""
        return self.both_present + self.first_only + self.second_only + self.both_absent


@dataclass(frozen=True, slots=True)
class Reading:
    """What a later version of a report is made of: the stored version that shows the results,
    and the reviews to be said in it, in the order in which they took effect."""

    base_uid: str
    base_sha256: Sha256
    base_revision: int
    reviews: tuple[Review, ...]
    verifies: bool  # the last reader has seen every result that the base shows

    @property
    def last(self) -> Review:
        """The review that the version is made for."""
        return self.reviews[-1]
