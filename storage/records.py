"""What the database holds, as values: frozen, typed, and free of any library.

Times are UNIX seconds (UTC, float), sizes are bytes, probabilities are 0 to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from storage.review_records import Reading, Review

from storage.headers import ImageHeader

InstanceId = NewType("InstanceId", int)
JobId = NewType("JobId", int)
StudyId = NewType("StudyId", int)
ReportId = NewType("ReportId", int)
DeliveryId = NewType("DeliveryId", int)
CompanionId = NewType("CompanionId", int)
Sha256 = NewType("Sha256", str)
Token = NewType("Token", int)


class Acceptance(StrEnum):
    """What accepting an instance did."""

    NEW = "new"  # a row and a job were made
    REPEATED = "repeated"  # the same bytes were here already; nothing was done
    CONFLICT = "conflict"  # other bytes under a known SOP Instance UID: kept, quarantined


class JobState(StrEnum):
    """One instance's way through the queue.

    ::

        pending --claim--> running --finish--> done
           ^                  |----retry-----> pending (not before a later time)
           |                  '--quarantine--> quarantined
           '-----------------retry by hand-----------'
    """

    PENDING = "pending"  # waits for a worker
    RUNNING = "running"  # claimed under a lease and a fencing token
    DONE = "done"  # has a result (analysed or not analysed) or was ignored
    QUARANTINED = "quarantined"  # given up; an administrator decides


class DeliveryState(StrEnum):
    """One object's way to one PACS.

    ::

        pending --claim--> sending --0000H, Bxxx--> stored, or where it is to be committed
           ^                  |                     committing --reported--> committed
           |                  |                         '--failed--> pending; too often: dead
           |                  |---A7xx, no answer--> pending (later)
           |                  |---a heat map's context refused--> not_taken
           |                  '---A9xx, Cxxx, 0122--> dead
           '------retry by hand: dead, not_taken-----'
    """

    PENDING = "pending"  # waits for its time
    SENDING = "sending"  # an association is open for it
    STORED = "stored"  # the PACS has answered that it holds the object
    COMMITTING = "committing"  # stored; asked to commit to it, or about to be
    COMMITTED = "committed"  # the PACS has taken the responsibility for it
    NOT_TAKEN = "not_taken"  # an object beside a report, of a class that the PACS does not take
    DEAD = "dead"  # refused for good; an administrator decides

    @property
    def is_final(self) -> bool:
        """Whether nothing more is to happen: the object's bytes are no longer needed for it."""
        return self in (DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.NOT_TAKEN)


class Removal(StrEnum):
    """What retention has done to an object; none while its file is kept."""

    DELETING = "deleting"  # the file is about to go, or is gone: never read from here on
    DELETED = "deleted"  # the file is gone for good


class StudyState(StrEnum):
    """A study's way to its report.

    ::

        due --claim--> reporting --report made--> reported --new result--> due
         ^                |---failed, or a result came meanwhile--> due
         |                '---failed too often--> quarantined
         '------retry by hand, new result-------------'

    A review in effect is like a new result.
    """

    DUE = "due"  # has a result or a review that no report names yet
    REPORTING = "reporting"  # claimed under a lease and a fencing token
    REPORTED = "reported"  # its last report names every result and review
    QUARANTINED = "quarantined"  # no report could be built; an administrator decides


class ResultStatus(StrEnum):
    """Whether an instance was classified."""

    ANALYSED = "analysed"
    NOT_ANALYSED = "not_analysed"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One SOP instance as the listener took it, before anything has read its dataset."""

    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    sha256: Sha256  # of the stored file
    size_bytes: int
    calling_ae: str
    called_ae: str
    peer_address: str
    received_at: float


@dataclass(frozen=True, slots=True)
class Instance:
    """A stored SOP instance."""

    id: InstanceId
    arrival: Arrival
    study_id: StudyId | None


@dataclass(frozen=True, slots=True)
class Job:
    """A claim on one instance. `token` fences it: a later claim has a larger one."""

    id: JobId
    instance: Instance
    attempts: int  # this one included, so 1 on the first claim
    token: Token
    lease_until: float
    last_end: str | None = None  # of the attempt before, where it ended with its process


@dataclass(frozen=True, slots=True)
class JobRow:
    """A line of the queue as an administrator reads it."""

    id: JobId
    state: JobState
    attempts: int
    sop_instance_uid: str
    sop_class_uid: str
    sha256: Sha256
    calling_ae: str
    peer_address: str
    received_at: float
    reason_code: str | None
    reason: str | None


class Doubt(StrEnum):
    """What reviews have shown of a finding's probabilities: they do not hold."""

    MARKED = "marked"  # the report says so
    STOPPED = "stopped"  # and the finding does not flag


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of one image: the calibrated probability and what it was held against."""

    name: str  # key within the bundle, for instance "pleural_effusion"
    code_value: str
    code_scheme: str
    code_meaning: str
    probability: float
    threshold: float
    doubt: Doubt | None = None

    @property
    def reached(self) -> bool:
        """Whether the probability reaches the threshold."""
        return self.probability >= self.threshold

    @property
    def present(self) -> bool:
        """Whether it flags: a probability that is in doubt may reach the threshold and not."""
        return self.reached and self.doubt is not Doubt.STOPPED


@dataclass(frozen=True, slots=True)
class Attention:
    """What the network looked at, per finding, and where its input lies on the image.

    `maps` is float16, little endian, (findings, grid, grid) in the order of the findings: Grad-CAM,
    at least 0. The rest is `classifier.preprocessing.Placement`: x = left + scale * column of the
    input, y = top + scale * row, in pixels of the image of `rows` x `columns`.
    """

    maps: bytes = field(repr=False)
    grid: int
    rows: int
    columns: int
    top: float
    left: float
    scale: float
    side: int


@dataclass(frozen=True, slots=True)
class Maker:
    """What classified an image, for the audit trail: a worker, its bundle, and the engine."""

    owner: str
    version: str
    digest: str  # SHA-256 of the bundle's manifest
    engine: str


@dataclass(frozen=True, slots=True)
class Result:
    """What was found in one instance, or why it was not analysed.

    Of an analysed one, the reason is what a radiologist must know of how it was read.
    """

    status: ResultStatus
    bundle: str | None = None  # "name version" of the model bundle, None when not analysed
    findings: tuple[Finding, ...] = ()
    reason_code: str | None = None
    reason: str | None = None
    attention: Attention | None = None
    maker: Maker | None = None  # kept by the audit trail alone
    measures: Mapping[str, float] | None = field(default=None, repr=False)  # that are watched


@dataclass(frozen=True, slots=True)
class JobDetails:
    """Everything about one job, for the administrator who has to decide."""

    row: JobRow
    arrival: Arrival
    study_instance_uid: str | None
    repeats: int  # how often the same bytes came again
    not_before: float
    owner: str | None
    lease_until: float | None
    result: Result | None


@dataclass(frozen=True, slots=True)
class StudyKey:
    """What ties an instance to its study. Patient data stays in the object, not here."""

    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class AnsweredInstance:
    """An instance of a study together with its result."""

    instance: Instance
    result: Result
    answered_at: float = 0.0  # when the result was committed


@dataclass(frozen=True, slots=True)
class StudyJob:
    """A claim on a study whose report is due: one of results, or one for a `reading`."""

    id: StudyId
    study_instance_uid: str
    version: int  # of the report to be made, 1 for the first
    predecessor_uid: str | None  # SOP Instance UID of version - 1
    token: Token
    instances: tuple[AnsweredInstance, ...]  # by time received; none for a reading
    reading: Reading | None = None  # the review to be said, and the version to say it of
    said: tuple[Review, ...] = ()  # by readers in versions before, for one of results to repeat
    sent: bool = False  # an earlier version is on its way to a PACS, or there
    canary: bool = False  # no patient's: a test of the whole way


@dataclass(frozen=True, slots=True)
class NewObject:
    """An object beside a report (a heat map): its bytes are in the object store."""

    sop_instance_uid: str
    sop_class_uid: str
    sha256: Sha256
    size_bytes: int
    header: ImageHeader | None = None  # without one, DICOMweb does not offer it


@dataclass(frozen=True, slots=True)
class NewReport:
    """A report as built: its bytes are in the object store under `sha256`."""

    sop_instance_uid: str
    sop_class_uid: str
    sha256: Sha256
    size_bytes: int
    created_at: float
    companions: tuple[NewObject, ...] = ()  # sent after the report, in this order
    header: ImageHeader | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """What an object was sent as: a report may step down to what the PACS takes."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claim on one object's way to one PACS."""

    id: DeliveryId
    report_id: ReportId
    pacs: str
    sop_instance_uid: str
    sop_class_uid: str
    sha256: Sha256
    attempts: int  # this one included
    token: Token
    companion_id: CompanionId | None = None  # None: the report itself
    tried: Form | None = None  # what it was last sent as
    study_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class Peer:
    """What a PACS accepted when it was last asked for everything."""

    pacs: str
    fingerprint: str  # of the settings and the proposal that it answered
    accepted: dict[str, str]  # SOP class UID to transfer syntax UID
    learnt_at: float


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """What a PACS is asked to commit to in one transaction."""

    forms: tuple[Form, ...] = ()
    unanswered: int = 0  # of them, asked for before and not reported on in time


@dataclass(frozen=True, slots=True)
class Committed:
    """What a storage commitment report changed: how many deliveries went where."""

    committed: int = 0
    resent: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A line of the outbox as an administrator reads it."""

    id: DeliveryId
    pacs: str
    state: DeliveryState
    attempts: int
    study_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    version: int
    companion: bool  # an object beside the report, and not the report
    sent: Form | None  # what the PACS holds, or was last sent
    next_attempt_at: float
    stored_at: float | None
    last_status: str | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study and what was reported on it."""

    id: StudyId
    study_instance_uid: str
    state: StudyState
    due_at: float
    report_version: int  # 0 before the first
    reported_at: float | None
    reason_code: str | None  # of the last failure to build its report
    reason: str | None
    instances: tuple[AnsweredInstance, ...] = field(default=())  # filled by `Studies.show`


@dataclass(frozen=True, slots=True)
class Counts:
    """How many jobs and deliveries stand in each state."""

    jobs: dict[JobState, int]
    deliveries: dict[DeliveryState, int]
