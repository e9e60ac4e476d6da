"""Schedules and their runs, as values. Times are UNIX seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NewType

from storage.records import Token

ScheduleId = NewType("ScheduleId", int)
RunId = NewType("RunId", int)


class RunKind(StrEnum):
    """What a run does."""

    BACKUP = "backup"  # copies the database, and checks the copy
    RECALIBRATE = "recalibrate"  # the serving weights, probabilities from reviews
    RETRAIN = "retrain"  # new weights from reviews, beside the first training's replay
    EVALUATE = "evaluate"  # measures what serves on reviewed images
    DRIFT = "drift"  # audits images, scores and reviews of each station
    CANARY = "canary"  # sends a known image through the whole way, and looks for what comes of it
    CHECK = "check"  # the database, and a sample of the stored objects


class RunState(StrEnum):
    """A run's way.

    ::

        waiting --claim--> running --> done, refused, failed or cancelled
           ^ '--cancel--> cancelled  |
           '----its process died-----'   (too often: failed)
    """

    WAITING = "waiting"  # for its window, or for the run before it
    RUNNING = "running"  # claimed under a lease and a fencing token
    DONE = "done"
    REFUSED = "refused"  # the data or the bundle cannot carry it; the reason says why
    FAILED = "failed"  # a fault: a full disk, or a process that died each time
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing more is to happen."""
        return self not in (RunState.WAITING, RunState.RUNNING)


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a day in which runs may start: minutes after midnight; may cross midnight."""

    start: int
    end: int

    def __str__(self) -> str:
        ends = (f"{minutes // 60:02}:{minutes % 60:02}" for minutes in (self.start, self.end))
        return "-".join(ends)


@dataclass(frozen=True, slots=True)
class Timing:
    """When something is due: by `cron` (five fields) in the time zone, or every so many seconds."""

    cron: str | None
    every_s: float | None
    timezone: str  # of the IANA database
    window: Window | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule; whatever was due until `seen_until` has its run."""

    id: ScheduleId
    name: str
    kind: RunKind
    timing: Timing
    seen_until: float
    created_by: str
    created_at: float


@dataclass(frozen=True, slots=True)
class RunClaim:
    """A claim on a run. `token` fences it: a later claim has a larger one."""

    id: RunId
    kind: RunKind
    attempts: int  # this one included
    token: Token
    due_at: float


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it is shown.

    `missed` counts the due times that it stands for beside its own. `done` of `total` steps of
    `stage` are ended. `outcome` is what it found, once it has ended. `candidate` is the digest of
    the bundle that it made.
    """

    id: RunId
    schedule_id: ScheduleId | None
    schedule: str | None
    kind: RunKind
    state: RunState
    due_at: float
    not_before: float
    missed: int
    requested_by: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    attempts: int
    owner: str | None
    lease_until: float | None
    cancelled_by: str | None
    stage: str
    done: int
    total: int
    reason: str | None
    outcome: Mapping[str, Any] | None
    candidate: str | None
    timing: Timing | None  # of its schedule; none where it was asked for by hand
