"""`hilum run`: the process of one run, which gives way to everything else on the machine.

It holds its run by a lease that a thread of its own extends. It ends at once where the run is
cancelled, where it is told to stop, where the process that started it has died, and where another
has taken the run over. Nothing is lost by that: what a run has reached is in its folder.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from classifier.errors import ClassifierError
from daemon import logs
from daemon.courtesy import Courtesy, step_back
from daemon.errors import CanaryLost, DaemonError
from daemon.events import Event
from daemon.process import EXIT_FAULT
from daemon.settings import Settings
from storage.database import Database, open_database
from storage.errors import LostClaim, NotFound, OutOfSpace, Refused, StorageError
from storage.objects import make_folder
from storage.runs import Runs
from storage.schedule_records import RunClaim, RunKind, RunState
from training.errors import (
    BundleNotWritten,
    CacheFailed,
    Diverged,
    ResultsNotWritten,
    TrainingError,
)

LEASE_S = 30.0
BEAT_S = 2.0

# The module of each kind has `perform(Task) -> Outcome`.
KINDS = {
    RunKind.BACKUP: "daemon.run_backup",
    RunKind.RECALIBRATE: "daemon.run_learning",
    RunKind.RETRAIN: "daemon.run_learning",
    RunKind.EVALUATE: "daemon.run_evaluation",
    RunKind.DRIFT: "daemon.run_drift",
    RunKind.CANARY: "daemon.run_canary",
    RunKind.CHECK: "daemon.run_check",
}
# A backup holds a lock that writers wait for; a canary measures what the service takes.
AT_ONCE = (RunKind.BACKUP, RunKind.CANARY)
_FAULTS = (CanaryLost, BundleNotWritten, CacheFailed, ResultsNotWritten, Diverged)


@dataclass
class Progress:
    """How far a run is; written by its work, read by its heart."""

    stage: str = ""
    done: int = 0
    total: int = 0
    give_way: Callable[[], None] = lambda: None  # before each step

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Note it, as `training.features.Progress`."""
        self.stage, self.done, self.total = stage, done, total
        self.give_way()


@dataclass(frozen=True, slots=True)
class Task:
    """What a kind of run works with; `folder` is the run's own, and survives it."""

    settings: Settings
    database: Database
    claim: RunClaim
    folder: Path
    progress: Progress
    clock: Callable[[], float] = time.time

    def note_candidate(self, digest: str) -> None:
        """Note a bundle that was made, before it is judged."""
        Runs(self.database).note_candidate(self.claim, digest)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run found, as JSON; `candidate` is the digest of a bundle that it made."""

    found: Mapping[str, Any] = field(default_factory=dict)
    candidate: str | None = None


def execute(settings: Settings, run_id: int) -> RunState:
    """Do a run from its claim to its end. Raises DaemonError where it cannot be claimed."""
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    database = open_database(settings.storage.url)
    runs = Runs(database)
    owner = f"{socket.gethostname()}-{os.getpid()}"
    claim = runs.claim(run_id, owner, LEASE_S, time.time())
    if claim is None:
        state = runs.show(run_id).state
        raise DaemonError(f"Run {run_id} is {state} and does not start now.")
    logs.get().info(Event.RUN_STARTED, run=run_id, kind=claim.kind, attempt=claim.attempts)
    folder = settings.storage.root / "runs" / str(run_id)
    make_folder(folder)
    task = Task(settings, database, claim, folder, Progress())
    heart = Heart(runs, claim, task.progress, parent)
    heart.start()
    if claim.kind not in AT_ONCE:
        step_back()
        task.progress.give_way = Courtesy(database)
    state, outcome, reason = _perform(task)
    heart.end(state, outcome, reason)
    logs.get().info(Event.RUN_ENDED, run=run_id, kind=claim.kind, state=state, reason=reason)
    database.close()
    return state


def _perform(task: Task) -> tuple[RunState, Outcome, str | None]:
    try:
        return RunState.DONE, import_module(KINDS[task.claim.kind]).perform(task), None
    except _FAULTS as error:
        return RunState.FAILED, Outcome(), str(error)
    except ModuleNotFoundError as error:
        reason = f"{error.name} is not installed: install hilum[training]."
        return RunState.REFUSED, Outcome(), reason
    except (TrainingError, ClassifierError, DaemonError, Refused, NotFound) as error:
        return RunState.REFUSED, Outcome(), str(error)
    except LostClaim:
        os._exit(EXIT_FAULT)
    except (OutOfSpace, StorageError) as error:
        return RunState.FAILED, Outcome(), str(error)
    except OSError as error:
        return RunState.FAILED, Outcome(), f"The disk: {error.strerror or type(error).__name__}."


class Heart:
    """Extends the lease, tells how far the run is, and ends the process where it must."""

    def __init__(self, runs: Runs, claim: RunClaim, progress: Progress, parent: int) -> None:
        """`parent` is the process that started this one: without it nothing goes on."""
        self._runs, self._claim, self._progress = runs, claim, progress
        self._parent = parent
        self._lock = threading.Lock()
        self._ended = False

    def start(self) -> None:
        """Begin to beat, in a thread."""
        threading.Thread(target=self._beat, daemon=True).start()

    def end(self, state: RunState, outcome: Outcome, reason: str | None) -> None:
        """End the run. Raises LostClaim."""
        with self._lock:
            self._ended = True
            at, now = self._progress, time.time()
            self._runs.beat(self._claim, LEASE_S, now, at.stage, at.done, at.total)
            found = _plain(outcome.found) if outcome.found else None
            self._runs.end(self._claim, state, now, found, reason, outcome.candidate)

    def _beat(self) -> None:
        while True:
            told = signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, BEAT_S)
            if os.getppid() != self._parent:
                os._exit(EXIT_FAULT)  # its service is gone, and another may hold the storage
            with self._lock:
                if self._ended:
                    return
                try:
                    self._one(stop=told is not None)
                except LostClaim:
                    os._exit(EXIT_FAULT)
                except StorageError as error:  # busy: the lease lasts for some more beats
                    logs.get().warning(Event.FAULT, **logs.whereabouts(error))

    def _one(self, *, stop: bool) -> None:
        now, at = time.time(), self._progress
        if stop:
            self._runs.hand_back(self._claim)
            os._exit(0)
        if self._runs.beat(self._claim, LEASE_S, now, at.stage, at.done, at.total):
            self._runs.end(self._claim, RunState.CANCELLED, now)
            logs.get().info(Event.RUN_ENDED, run=self._claim.id, state=RunState.CANCELLED)
            os._exit(0)


def _plain(found: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it: what is no number, as an interval of nothing, is null."""
    plain: dict[str, Any] = json.loads(json.dumps(found), parse_constant=lambda _: None)
    return plain
