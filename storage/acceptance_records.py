"""An acceptance test of a site, as values. Times are UNIX seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from storage.records import StudyId

AcceptanceId = NewType("AcceptanceId", int)
ANY = "any"
"""Stands for "at least one finding of the bundle", in the place of a finding's name."""


class AcceptanceState(StrEnum):
    """An acceptance test's way. ::

    open --close--> closed
    """

    OPEN = "open"  # its sample is read; what the computer found is withheld from its readers
    CLOSED = "closed"  # nothing of it changes any more; its report can be made


@dataclass(frozen=True, slots=True)
class Decision:
    """What the bundle found in a study: the largest probability among its images."""

    probability: float
    present: bool  # at the threshold in force when the sample was drawn


@dataclass(frozen=True, slots=True)
class Candidate:
    """A study that may be drawn.

    patient: its key in the hold-out. images: analysed. decisions: by finding. The texts are as
    the header has them.
    """

    study_id: StudyId
    patient: str
    images: int
    decisions: Mapping[str, Decision]
    view: str
    sex: str
    age: str
    birth_date: str
    study_date: str
    station: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """How many studies of the time cannot be drawn, and why; each is counted once."""

    other_bundle: int = 0  # an image was classified by another bundle, or none was
    seen: int = 0  # a reader of the test has opened or read it
    removed: int = 0  # an image's file is gone
    learnt: int = 0  # a bundle may have learnt from the patient
    sampled: int = 0  # in a test that is open


@dataclass(frozen=True, slots=True)
class Pool:
    """The studies that may be drawn, and those that may not."""

    candidates: tuple[Candidate, ...]
    excluded: Excluded


@dataclass(frozen=True, slots=True)
class SampleReader:
    """Who reads the sample, by name as it stood when it was drawn."""

    account: int
    login: str
    name: str


@dataclass(frozen=True, slots=True)
class NewCase:
    """A study of a sample. weight: how many studies it stands for; groups: column to value."""

    study_id: StudyId
    patient: str
    weight: float
    images: int
    decisions: Mapping[str, Decision]
    groups: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a test is to show, and what it is of.

    finding: what the sample is sized and stratified by, `ANY` or a name. half_width: wanted of
    the intervals of sensitivity and specificity at the shares expected. counts: of the studies that
    it was drawn from.
    """

    name: str
    finding: str
    half_width: float
    sensitivity: float
    specificity: float
    seed: str
    version: str
    digest: str
    thresholds: Mapping[str, float]
    counts: Mapping[str, int]
    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Closing:
    """Who closed a test, when and why."""

    actor: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class AcceptanceTest:
    """A test as stored. reported_at: when its report was made."""

    id: AcceptanceId
    plan: Plan
    state: AcceptanceState
    actor: str
    drawn_at: float
    readers: tuple[SampleReader, ...]
    cases: int
    closing: Closing | None = None
    reported_at: float | None = None
    read: Mapping[int, int] = field(default_factory=dict)  # account to cases read

    @property
    def complete(self) -> bool:
        """Whether every reader has read every case."""
        return all(self.read.get(one.account, 0) >= self.cases for one in self.readers)


@dataclass(frozen=True, slots=True)
class ListedCase:
    """A line of a reader's list; nothing of it says what the computer found."""

    number: int  # from 1
    study_instance_uid: str
    study_date: str
    read_at: float | None


@dataclass(frozen=True, slots=True)
class FirstRead:
    """What a reader said of a study before seeing the result.

    said: finding to image to whether it is there, None where the reader is unsure.
    """

    study_id: StudyId
    account: int
    read_at: float
    said: Mapping[str, Mapping[int, bool | None]]


@dataclass(frozen=True, slots=True)
class StoredReport:
    """The report of a closed test. figures and pictures are JSON; page is a whole HTML file."""

    figures: str
    pictures: str  # name to PNG in base64
    page: str
    made_at: float
