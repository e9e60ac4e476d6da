"""`hilum serve`: opens the storage, then keeps its processes running: listener, workers, delivery,
pages and scheduler; and, while a candidate is in its trial, one that classifies with it.

Each is a process of its own, so that none can take another along. The supervisor itself does no
work: it starts, watches, and ends them. They are forks of it: what it has imported is there at
once, also after a restart, and in memory once for all of them.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from daemon import logs, process
from daemon.errors import SettingsError
from daemon.events import Event
from daemon.limits import why_ended
from daemon.notify import Notifier
from daemon.settings import Settings
from storage.errors import DatabaseBusy, StorageError
from storage.root import lock_root

if TYPE_CHECKING:
    from daemon.recovery import Claims

# In the order of their start: who sends is not kept waiting
ROLES = ("listener", "worker", "delivery", "web", "scheduler")
FORK = get_context("fork")
# Imported once for all children but the first; only the workers import the classifier.
SHARED = ("daemon.delivery", "daemon.recovery")
LEASES_EVERY_S = 2.0
LOCKED_S = 30.0  # the database, until a worker is taken to hang amid a commit
KILL_AFTER_S = 10.0  # SIGTERM to SIGKILL
RESTART_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # waits after quick deaths in a row
LIVED_WELL_S = 60.0


@dataclass
class Child:
    """One process of the service, restarted whenever it ends."""

    role: str
    owner: str  # under this name it claims; it ends with the host's where hosts share a database
    wanted: bool = True  # else it ends by itself, and is not started again
    running: BaseProcess | None = None
    started_at: float = 0.0
    not_before: float = 0.0
    quick_deaths: int = 0


class Supervisor:
    """The parent of all processes of one service."""

    def __init__(self, settings: Settings, roles: Sequence[str] = ROLES) -> None:
        self._settings = settings
        self._roles = roles
        self._log = logs.get()
        host, several = settings.storage.host, range(1, settings.dicom.listeners)
        children = [
            Child("listener", f"listener{host}"),
            *(Child("listener", f"listener-{n + 1}{host}") for n in several),
            *(Child("worker", f"worker-{n}{host}") for n in range(settings.classifier.workers)),
            *(Child(role, f"{role}{host}") for role in ("delivery", "web", "scheduler")),
        ]
        # Runs while a candidate is in its trial
        self._shadow = Child("shadow", f"shadow{host}", wanted=False)
        self._children = [one for one in children if one.role in roles]
        if "worker" in roles:
            self._children.append(self._shadow)
        self._life_read, self._life_write = os.pipe()
        self._locked_since: float | None = None
        workers = [one.owner for one in self._children if one.role == "worker"]
        deliveries = (f"delivery-{p.name}" for p in settings.pacs)
        self._bells = process.Bells([*workers, *deliveries, process.LISTENING])
        self._notifier = Notifier()

    def run(self, stop: process.Stop) -> None:
        """Keep the children running until told to stop, then end them."""
        gc.freeze()  # a collection in a child must not touch, and so copy, what is shared
        first, *_ = self._children
        self._start(first, time.monotonic())
        for module in SHARED:
            import_module(module)
        gc.freeze()
        leases_at = 0.0
        while not stop:
            now = time.monotonic()
            for child in self._children:
                self._tend(child, now)
            if now >= leases_at:
                self._check_leases()
                leases_at = now + LEASES_EVERY_S
            if "listener" not in self._roles or self._bells.of(process.LISTENING).rung():
                self._notifier.ready()
            self._notifier.alive()
            self._sleep(leases_at, stop)
        self._end()

    def _sleep(self, until: float, stop: process.Stop) -> None:
        """Sleep until then, a stop, a child's death, or the time to start one again."""
        alive = [child.running.sentinel for child in self._children if child.running is not None]
        starts = [
            child.not_before for child in self._children if child.wanted and child.running is None
        ]
        seconds = min([until, *starts]) - time.monotonic()
        listening = self._bells.of(process.LISTENING).descriptor
        if self._notifier.every_s:
            seconds = min(seconds, self._notifier.every_s)
        process.sleep(seconds, stop.descriptor, listening, *alive)

    def _tend(self, child: Child, now: float) -> None:
        if child.running is not None:
            status = child.running.exitcode
            if status is None:
                return
            if child is self._shadow and status == 0:
                child.running, child.wanted = None, False
                return
            lived_s = now - child.started_at
            child.quick_deaths = 0 if lived_s > LIVED_WELL_S else child.quick_deaths + 1
            wait_s = RESTART_S[min(max(child.quick_deaths - 1, 0), len(RESTART_S) - 1)]
            child.running, child.not_before = None, now + wait_s
            self._log.error(
                Event.PROCESS_DIED, process=child.owner, status=status,
                lived_s=round(lived_s, 1), restart_in_s=wait_s,
            )  # fmt: skip
            self._release(child, why_ended(status))
        if child.wanted and now >= child.not_before:
            self._start(child, now)

    def _start(self, child: Child, now: float) -> None:
        child.running = FORK.Process(target=self._live, args=(child,), daemon=True)
        child.running.start()
        child.started_at = now
        self._log.info(Event.PROCESS_STARTED, process=child.owner, pid=child.running.pid)

    def _live(self, child: Child) -> None:
        """The whole life of a child, in its own process."""
        os.setsid()  # a terminal's Ctrl-C reaches the supervisor alone, which passes it on in order
        os.close(self._life_write)
        with suppress(OSError):  # its name in ps and top
            Path("/proc/self/comm").write_text(f"hilum-{child.owner}")
        logs.configure(child.role)
        stop = process.Stop(self._life_read)
        serve_role = import_module(f"daemon.{child.role}").serve
        sys.exit(serve_role(self._settings, stop, child.owner, self._bells))

    def _release(self, child: Child, because: str) -> None:
        """Give back at once what a dead process had claimed."""
        try:
            with self._claims() as claims:
                released = claims.release(child.role, child.owner, because)
        except StorageError as error:
            # The lease will run out, and _check_leases does the same then
            self._log.error(Event.FAULT, **logs.whereabouts(error))
            return
        if released:
            self._log.warning(Event.CLAIMS_RELEASED, process=child.owner, count=released)

    def _check_leases(self) -> None:
        """Kill a worker that holds a claim past its lease: the decoder or the engine hangs.

        One that hangs amid a commit holds SQLite's lock, so that nobody can read the leases.
        """
        try:
            with self._claims() as claims:
                overdue = claims.overdue()
                self._locked_since = None
                self._kill([child for child in self._children if child.owner in overdue])
                if overdue:
                    claims.release_overdue()
                for host, count in claims.live(self._roles).items():
                    self._log.error(Event.HOST_SILENT, host=host, released=count)
                self._shadow.wanted = claims.in_trial()
        except StorageError as error:
            self._log.error(Event.FAULT, **logs.whereabouts(error))
            if isinstance(error, DatabaseBusy) and self._is_locked():
                self._kill([child for child in self._children if child.role == "worker"])

    def _is_locked(self) -> bool:
        now = time.monotonic()
        self._locked_since = self._locked_since or now
        return now - self._locked_since >= LOCKED_S

    def _kill(self, children: Sequence[Child]) -> None:
        for child in children:
            if child.running is not None:
                self._log.error(Event.PROCESS_KILLED, process=child.owner)
                child.running.kill()
                child.running.join()

    @contextmanager
    def _claims(self) -> Iterator[Claims]:
        """Open the database for a moment: no connection of ours may be in a fork."""
        claims = import_module("daemon.recovery").Claims(self._settings)
        try:
            yield claims
        finally:
            claims.close()

    def _end(self) -> None:
        """Tell every child to stop, and kill what does not: nothing that counts is in memory."""
        self._log.info(Event.SERVICE_STOPPING)
        self._notifier.stopping()
        running = [child.running for child in self._children if child.running is not None]
        for one in running:
            one.terminate()
        deadline = time.monotonic() + KILL_AFTER_S
        for one in running:
            one.join(max(0.05, deadline - time.monotonic()))
            if one.exitcode is None:
                self._log.error(Event.PROCESS_KILLED, pid=one.pid)
                one.kill()
                one.join()
        try:
            with self._claims() as claims:
                claims.stopped()
        except StorageError as error:
            self._log.error(Event.FAULT, **logs.whereabouts(error))
        self._log.info(Event.SERVICE_STOPPED)


def chosen(roles: str, settings: Settings) -> tuple[str, ...]:
    """Return the roles of a list with commas. Raises SettingsError, naming what is allowed."""
    wanted = [one.strip() for one in roles.split(",")]
    for one in wanted:
        if one not in ROLES:
            raise SettingsError(f'--roles: "{one}" is none; known are {", ".join(ROLES)}')
    if len(set(wanted)) < len(ROLES) and not settings.storage.host:
        raise SettingsError(
            "--roles: a host that leaves roles to others shares a database with them: set"
            " storage.database_url to PostgreSQL"
        )
    return tuple(one for one in ROLES if one in wanted)


def serve(settings: Settings, stop: process.Stop, roles: Sequence[str] = ROLES) -> None:
    """Run those roles of the service until told to stop. Raises AlreadyServing.

    The storage is opened by a process that ends with that, while this one imports what the listener
    needs; where the storage cannot be used it says why, and this one exits with status 1.
    """
    with lock_root(settings.storage.root, settings.storage.host):
        recovery = FORK.Process(target=_recover, args=(settings,))
        recovery.start()
        import_module("daemon.listener")
        recovery.join()
        if recovery.exitcode != 0:
            sys.exit(1)
        logs.get().info(Event.SERVICE_STARTED, root=str(settings.storage.root), pid=os.getpid())
        Supervisor(settings, roles).run(stop)


def _recover(settings: Settings) -> None:
    try:
        import_module("daemon.recovery").recover(settings)
    except StorageError as error:
        sys.exit(f"hilum: {error}")
