"""`hilum serve`: opens the storage, then keeps one listener, the workers and the delivery running.

Each is a process of its own, so that none can take another along. The supervisor itself does no
work: it starts, watches, and ends them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from daemon import logs, process
from daemon.events import Event
from daemon.settings import Settings
from storage.database import Database, lock_root, open_database
from storage.errors import StorageError
from storage.objects import ObjectStore
from storage.outbox import Outbox
from storage.queue import Queue
from storage.studies import Studies

WATCH_S = 0.1
LEASES_EVERY_S = 2.0
KILL_AFTER_S = 10.0  # SIGTERM to SIGKILL
RESTART_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # waits after quick deaths in a row
LIVED_WELL_S = 60.0


@dataclass
class Child:
    """One process of the service, restarted whenever it ends."""

    role: str
    owner: str  # under this name it claims
    running: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    not_before: float = 0.0
    quick_deaths: int = field(default=0)


class Supervisor:
    """The parent of all processes of one service."""

    def __init__(self, settings: Settings, config: Path, database: Database) -> None:
        self._settings = settings
        self._config = config
        self._queue = Queue(database)
        self._outbox = Outbox(database)
        self._log = logs.get()
        workers = [Child("worker", f"worker-{n}") for n in range(settings.classifier.workers)]
        self._children = [Child("listener", "listener"), *workers, Child("delivery", "delivery")]
        self._life_read, self._life_write = os.pipe()

    def run(self, stop: process.Stop) -> None:
        """Keep the children running until told to stop, then end them."""
        leases_at = 0.0
        while not stop:
            now = time.monotonic()
            for child in self._children:
                self._tend(child, now)
            if now >= leases_at:
                self._check_leases()
                leases_at = now + LEASES_EVERY_S
            stop.wait(WATCH_S)
        self._end()

    def _tend(self, child: Child, now: float) -> None:
        if child.running is not None:
            status = child.running.poll()
            if status is None:
                return
            lived_s = now - child.started_at
            child.quick_deaths = 0 if lived_s > LIVED_WELL_S else child.quick_deaths + 1
            wait_s = RESTART_S[min(max(child.quick_deaths - 1, 0), len(RESTART_S) - 1)]
            child.running, child.not_before = None, now + wait_s
            self._log.error(
                Event.PROCESS_DIED, process=child.owner, status=status,
                lived_s=round(lived_s, 1), restart_in_s=wait_s,
            )  # fmt: skip
            self._release(child)
        if now >= child.not_before:
            self._start(child, now)

    def _start(self, child: Child, now: float) -> None:
        child.running = subprocess.Popen(
            [sys.executable, "-m", f"daemon.{child.role}", "--config", str(self._config),
             "--life-fd", str(self._life_read), "--owner", child.owner],
            pass_fds=[self._life_read],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C reaches us alone; we pass it on in order
        )  # fmt: skip
        child.started_at = now
        self._log.info(Event.PROCESS_STARTED, process=child.owner, pid=child.running.pid)

    def _release(self, child: Child) -> None:
        """Give back at once what a dead process had claimed."""
        try:
            if child.role == "worker":
                released = self._queue.release(child.owner, time.time())
            elif child.role == "delivery":
                released = self._outbox.release(child.owner)
            else:
                return
        except StorageError as error:
            # The lease will run out, and _check_leases does the same then
            self._log.error(Event.FAULT, **logs.whereabouts(error))
            return
        if released:
            self._log.warning(Event.CLAIMS_RELEASED, process=child.owner, count=released)

    def _check_leases(self) -> None:
        """Kill a worker that holds a claim past its lease: the decoder or the engine hangs."""
        try:
            overdue = self._queue.overdue(time.time())
            for child in self._children:
                if child.owner in overdue and child.running is not None:
                    self._log.error(Event.PROCESS_KILLED, process=child.owner)
                    child.running.kill()
                    child.running.wait()
            if overdue:
                self._queue.release_expired(time.time())
        except StorageError as error:
            self._log.error(Event.FAULT, **logs.whereabouts(error))

    def _end(self) -> None:
        """Tell every child to stop, and kill what does not: nothing that counts is in memory."""
        self._log.info(Event.SERVICE_STOPPING)
        running = [child.running for child in self._children if child.running is not None]
        for one in running:
            one.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + KILL_AFTER_S
        for one in running:
            try:
                one.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._log.error(Event.PROCESS_KILLED, pid=one.pid)
                one.kill()
                one.wait()
        self._log.info(Event.SERVICE_STOPPED)


def serve(settings: Settings, config: Path, stop: process.Stop) -> None:
    """Run the service until told to stop.

    Raises StorageError where the storage cannot be opened, AlreadyServing among them.
    """
    root = settings.storage.root
    with lock_root(root):
        database = open_database(settings.storage.url)
        try:
            recover(settings, database)
            logs.get().info(Event.SERVICE_STARTED, root=str(root), pid=os.getpid())
            Supervisor(settings, config, database).run(stop)
        finally:
            database.close()


def recover(settings: Settings, database: Database) -> None:
    """Bring the storage into order after whatever ended the last run."""
    log = logs.get()
    root = settings.storage.root
    outcome = database.migrate(root / "backups")
    log.info(Event.DATABASE_OPENED, journal_mode=database.journal_mode)
    if outcome.changed:
        log.info(
            Event.DATABASE_MIGRATED, before=outcome.before, after=outcome.after,
            backup=str(outcome.backup) if outcome.backup else None,
        )  # fmt: skip
    for fault in database.quick_check():
        raise StorageError(f"the database is damaged: {fault}")
    objects = ObjectStore(root, settings.storage.reserve_bytes)
    objects.sweep()
    # The lock on the root is ours: whoever claimed anything is dead
    now = time.time()
    queue, outbox = Queue(database), Outbox(database)
    released = queue.release_all(now) + outbox.reset_sending()
    if released:
        log.warning(Event.CLAIMS_RELEASED, process="all", count=released)
    for sha256 in [
        *queue.open_objects(),
        *Studies(database).open_objects(),
        *outbox.open_objects(),
    ]:
        if not objects.exists(sha256):
            log.error(Event.OBJECT_LOST, sha256=sha256)
