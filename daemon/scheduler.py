"""The process that has runs made and done when they are due.

It works nothing itself and imports no machine learning: a run is a process of its own
(`daemon.run`), one at a time. Which due times have come is read from the schedules' rows, so that
neither a restart nor a second scheduler, on this host or another, makes a run twice.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from daemon import duetimes, logs, process
from daemon.errors import WrongTiming
from daemon.events import Event
from daemon.settings import Settings
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.runs import Runs, may_start
from storage.schedule_records import Run, RunId, RunState
from storage.schedules import Schedules

LOOK_EVERY_S = 2.0


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Keep the schedules until told to stop; return the exit status."""
    del owner, bells
    database = open_database(settings.storage.url)
    scheduler = Scheduler(settings, database, database.clock)
    while not stop:
        try:
            scheduler.step()
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
        self._child: subprocess.Popen[bytes] | None = None
        self._run_id = RunId(0)  # the child's

    def step(self) -> None:
        """Look once at the clock, at the child, and at what waits."""
        self.make_due()
        self._tend()
        for run_id in self._runs.put_back(self._clock()):
            self._log.warning(Event.RUN_PUT_BACK, run=run_id)
        if self._child is None:
            self._start(self.startable())

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

    def startable(self) -> Run | None:
        """Return the run that is to start now: none while one is in work, on whatever host."""
        now, waiting = self._clock(), self._runs.open()
        if any(one.state is RunState.RUNNING for one in waiting):
            return None
        for one in waiting:
            if may_start(one.not_before, now) and duetimes.is_open(one.timing, now):
                return one
        return None

    def sleep(self, stop: process.Stop) -> None:
        """Sleep until the next look, a stop, or the end of the child."""
        descriptors = [stop.descriptor]
        with suppress(OSError):
            if self._child is not None:
                descriptors.append(os.pidfd_open(self._child.pid))
        process.sleep(LOOK_EVERY_S, *descriptors)
        for one in descriptors[1:]:
            os.close(one)

    def end(self) -> None:
        """Have the child hand its run back, and end it where it does not."""
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(process.DRAIN_S - 2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        with suppress(StorageError):  # else its lease runs out
            self._runs.put_back(self._clock(), self._owner())

    def _start(self, run: Run | None) -> None:
        if run is None or self._settings.file is None:
            return
        self._run_id = run.id
        command = [sys.executable, "-m", "daemon", "run", str(run.id)]
        self._child = subprocess.Popen(
            [*command, "--config", str(self._settings.file)], stdin=subprocess.DEVNULL
        )
        self._log.info(Event.PROCESS_STARTED, process=f"run-{run.id}", pid=self._child.pid)

    def _tend(self) -> None:
        if self._child is None or self._child.poll() is None:
            return
        status, owner, now = self._child.returncode, self._owner(), self._clock()
        self._child = None
        died = self._runs.put_back(now, owner)
        if not died and status != 0 and self._runs.not_started(self._run_id, now):
            died = (self._run_id,)  # before it could claim its run
        for run_id in died:
            self._log.error(Event.PROCESS_DIED, process=f"run-{run_id}", status=status)

    def _owner(self) -> str:
        """The name under which the child claims: `daemon.run.execute`."""
        pid = 0 if self._child is None else self._child.pid
        return f"{socket.gethostname()}-{pid}"
