"""Who uses the service: accounts, sessions and tokens, and what is written down of their acts."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

SERVICE = "service"  # the actor of what the service does by itself


class Role(StrEnum):
    """What an account may do; each person has one."""

    RADIOLOGIST = "radiologist"  # reads and reviews studies
    ADMINISTRATOR = "administrator"  # runs the service; reads no patient's study
    AUDITOR = "auditor"  # reads the audit trail, and changes nothing


class Scope(StrEnum):
    """What an API token may do; each token names some."""

    STUDIES = "studies:read"  # studies, results, objects, DICOMweb
    REVIEWS = "reviews:write"
    HEALTH = "health:read"
    ADMIN = "admin:write"
    AUDIT = "audit:read"


# A token acts for an account, and may no more than the account's role.
SCOPES = {
    Role.RADIOLOGIST: frozenset({Scope.STUDIES, Scope.REVIEWS, Scope.HEALTH}),
    Role.ADMINISTRATOR: frozenset({Scope.HEALTH, Scope.ADMIN}),
    Role.AUDITOR: frozenset({Scope.AUDIT, Scope.HEALTH}),
}


class Action(StrEnum):
    """What the audit trail records."""

    SIGNED_IN = "session.signed_in"
    SIGN_IN_FAILED = "session.sign_in_failed"
    SIGNED_OUT = "session.signed_out"
    SESSIONS_ENDED = "session.all_ended"  # by the person, for all other sessions

    ACCOUNT_ADDED = "account.added"
    ACCOUNT_CHANGED = "account.changed"
    ACCOUNT_DISABLED = "account.disabled"
    ACCOUNT_ENABLED = "account.enabled"
    PASSWORD_CHANGED = "account.password_changed"
    TOKEN_MADE = "token.made"
    TOKEN_REVOKED = "token.revoked"

    STUDY_READ = "study.read"
    WORKLIST_SEARCHED = "worklist.searched"
    REVIEW_WRITTEN = "review.written"
    REVIEW_UNDONE = "review.undone"
    MODEL_REGISTERED = "model.registered"
    MODEL_CONFIGURED = "model.configured"  # the settings name it, and nothing was promoted
    MODEL_PROMOTED = "model.promoted"
    MODEL_ROLLED_BACK = "model.rolled_back"
    MODEL_REFUSED = "model.refused"  # a worker could not serve it
    THRESHOLD_CHANGED = "threshold.changed"
    SHADOW_STARTED = "shadow.started"  # a candidate's trial beside what serves
    SHADOW_ENDED = "shadow.ended"
    SCHEDULE_ADDED = "schedule.added"
    SCHEDULE_REMOVED = "schedule.removed"
    RUN_REQUESTED = "run.requested"
    RUN_CANCELLED = "run.cancelled"
    HOLDOUT_REFRESHED = "holdout.refreshed"  # its patients were drawn anew
    ALARM_ACKNOWLEDGED = "alarm.acknowledged"
    FINDING_DOUBTED = "finding.doubted"  # its probabilities do not hold, by reviews
    DOUBT_LIFTED = "finding.doubt_lifted"
    STATION_ACCEPTED = "station.accepted"  # its images are its reference from now on
    ALARM_CLOSED = "alarm.closed"  # by a person
    LABELS_IMPORTED = "labels.imported"
    ACCEPTANCE_DRAWN = "acceptance.drawn"
    ACCEPTANCE_CLOSED = "acceptance.closed"
    ACCEPTANCE_REPORTED = "acceptance.reported"
    JOB_RETRIED = "job.retried"
    JOB_QUARANTINED = "job.quarantined"
    STUDY_RETRIED = "study.retried"
    DELIVERY_RETRIED = "delivery.retried"
    AUDIT_READ = "audit.read"
    AUDIT_BROKEN = "audit.broken"  # a check found a row that is not what was written
    OBJECT_UNSOUND = "object.unsound"  # its stored bytes are damaged or lost; who came upon it

    SERVICE_STARTED = "service.started"
    SERVICE_STOPPED = "service.stopped"
    MODEL_LOADED = "model.loaded"  # by a worker, which answers with it from then on
    INSTANCE_RECEIVED = "instance.received"
    INSTANCE_ANALYSED = "instance.analysed"
    INSTANCE_NOT_ANALYSED = "instance.not_analysed"
    INSTANCE_QUARANTINED = "instance.quarantined"
    INSTANCE_IGNORED = "instance.ignored"  # an object of ours that came back
    REPORT_MADE = "report.made"
    REPORT_DELIVERED = "report.delivered"
    REPORT_REFUSED = "report.refused"  # by a PACS, for good
    COMMITMENT_REPORTED = "commitment.reported"
    OBJECTS_REMOVED = "objects.removed"  # by retention


class Mark(StrEnum):
    """Up to where the audit trail was dealt with."""

    CHECKED = "checked"  # row by row, from the mark before
    WHOLE = "whole"  # checked from the first row on, in one go
    SENT = "sent"  # to the collector, which had it for long enough to say otherwise


@dataclass(frozen=True, slots=True)
class Account:
    """A person who may sign in, without the password's hash."""

    id: int
    login: str  # lower case
    name: str  # as shown
    person_name: str  # as VR PN: family^given^middle^prefix^suffix
    organization: str
    role: Role
    blinded: bool  # reads first, and sees the computer's result afterwards
    created_at: float
    disabled_at: float | None
    by_provider: bool  # signs in by OpenID Connect, and has no password


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made; `password_hash` is none where an OpenID provider signs it in."""

    login: str
    name: str
    person_name: str
    organization: str
    role: Role
    blinded: bool = False
    password_hash: str | None = None
    issuer: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in that is still good."""

    id: int
    account: Account
    created_at: float
    seen_at: float
    address: str
    filters: str = field(default="", repr=False)  # of a page, as JSON: may hold a name
    told: str = ""  # what the next page has to say, once


@dataclass(frozen=True, slots=True)
class Token:
    """An API token as an administrator sees it: its secret was shown once, and is not kept."""

    id: int
    name: str
    start: str  # its first characters, to know it by
    account: Account
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None
    used_at: float | None
    revoked_at: float | None
