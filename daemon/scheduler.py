"""The process that has runs made and done when they are due.

It works nothing itself and imports no machine learning: a run is a process of its own
(`daemon.run`), one at a time, and a canary beside it. Which due times have come is read from the
schedules' rows, so that neither a restart nor a second scheduler, on this host or another, makes a
run twice. Beside that it listens for silence (`daemon.silence`, `daemon.missing_canary`), and keeps
what metrics count (`daemon.bookkeeper`).
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from daemon import duetimes, logs, process
from daemon.bookkeeper import Bookkeeper
from daemon.errors import WrongTiming
from daemon.events import Event
from daemon.missing_canary import MissingCanary
from daemon.settings import Settings
from daemon.silence import Watchman
from daemon.trials import Conductor
from daemon.watching import Watch
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.runs import Runs, may_start
from storage.schedule_records import Run, RunId, RunKind, RunState
from storage.schedules import Schedules

LOOK_EVERY_S = 2.0


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Keep the schedules until told to stop; return the exit status."""
    del owner, bells
    database = open_database(settings.storage.url)
    scheduler = Scheduler(settings, database, database.clock)
    watchman, missing = Watchman(database), MissingCanary(settings, database)
    bookkeeper = Bookkeeper(database)
    while not stop:
        try:
            scheduler.step()
            watchman.step()
            missing.step()
            bookkeeper.step()
        except StorageError as error:  # busy, or full: the next look finds the same
            logs.get().error(Event.FAULT, **logs.whereabouts(error))
        scheduler.sleep(stop)
    scheduler.end()
    database.close()
    return 0


class Scheduler:
    """Makes what is due a run, and starts a process for the next one."""

    def __init__(
        self, settings: Settings, database: Database, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._schedules, self._runs = Schedules(database), Runs(database)
        self._clock = clock
        self._log = logs.get()
        self._children: list[Child] = []  # a canary goes beside another
        self._watch = Watch(database, clock)
        self._conductor = Conductor(settings, database, clock)

    def step(self) -> None:
        """Look once at the clock, at the children, at what waits and at what came in."""
        self.make_due()
        for child in [one for one in self._children if one.process.poll() is not None]:
            self._children.remove(child)
            self._ended(child)
        for run_id in self._runs.put_back(self._clock()):
            self._log.warning(Event.RUN_PUT_BACK, run=run_id)
        for run in self.startable():
            self._start(run)
        self._conductor.step()
        self._watch.step()

    def make_due(self) -> None:
        """Make the runs of what came due since the schedules were last looked at."""
        now = self._clock()
        for one in self._schedules.all():
            try:
                seen, due = duetimes.due(one, now)
            except (WrongTiming, ValueError, LookupError, OSError) as error:
                # A time zone that an update took away must not hold up the other schedules
                self._log.error(Event.FAULT, schedule=one.name, error=type(error).__name__)
                continue
            if due is None and seen >= one.seen_until:
                continue
            run_id = self._schedules.see(one, seen, due, now)
            if run_id is not None and due is not None:
                self._log.info(
                    Event.RUN_DUE, run=run_id, schedule=one.name, kind=one.kind, missed=due.missed
                )

    def startable(self) -> tuple[Run, ...]:
        """Return the runs that are to start now: a canary, and one of all others, where none is
        in work, on whatever host."""
        now, waiting = self._clock(), self._runs.open()
        taken = {_lane(one.kind) for one in waiting if one.state is RunState.RUNNING}
        taken |= {_lane(child.kind) for child in self._children}
        found = []
        for one in waiting:
            if _lane(one.kind) in taken:
                continue
            if may_start(one.not_before, now) and duetimes.is_open(one.timing, now):
                taken.add(_lane(one.kind))
                found.append(one)
        return tuple(found)

    def sleep(self, stop: process.Stop) -> None:
        """Sleep until the next look, a stop, or the end of a child."""
        descriptors = [stop.descriptor]
        for child in self._children:
            with suppress(OSError):
                descriptors.append(os.pidfd_open(child.process.pid))
        process.sleep(LOOK_EVERY_S, *descriptors)
        for one in descriptors[1:]:
            os.close(one)

    def end(self) -> None:
        """Have the children hand their runs back, and end them where they do not."""
        for child in self._children:
            child.process.terminate()
        deadline = time.monotonic() + process.DRAIN_S - 2
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            with suppress(StorageError):  # else its lease runs out
                self._runs.put_back(self._clock(), child.owner)

    def _start(self, run: Run) -> None:
        if self._settings.file is None:
            return
        command = [sys.executable, "-m", "daemon", "run", str(run.id)]
        started = subprocess.Popen(
            [*command, "--config", str(self._settings.file)], stdin=subprocess.DEVNULL
        )
        self._children.append(Child(run.id, run.kind, started))
        self._log.info(Event.PROCESS_STARTED, process=f"run-{run.id}", pid=started.pid)

    def _ended(self, child: Child) -> None:
        status, now = child.process.returncode, self._clock()
        died = self._runs.put_back(now, child.owner)
        if not died and status != 0 and self._runs.not_started(child.run_id, now):
            died = (child.run_id,)  # before it could claim its run
        for run_id in died:
            self._log.error(Event.PROCESS_DIED, process=f"run-{run_id}", status=status)


@dataclass(frozen=True, slots=True)
class Child:
    """The process of a run."""

    run_id: RunId
    kind: RunKind
    process: subprocess.Popen[bytes]

    @property
    def owner(self) -> str:
        """The name under which it claims: `daemon.run.execute`."""
        return f"{socket.gethostname()}-{self.process.pid}"


def _lane(kind: RunKind) -> bool:
    """One run of each is in work at a time: a canary goes beside a retraining of hours."""
    return kind is RunKind.CANARY
