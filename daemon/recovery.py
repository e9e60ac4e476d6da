"""What the service does to the database itself: order at the start, and after a process died."""

from __future__ import annotations

from collections.abc import Sequence

from daemon import logs
from daemon.alarms import Bell
from daemon.care import tell_objects
from daemon.events import Event
from daemon.settings import Settings
from storage.audit import Audit
from storage.care import unsound_within
from storage.database import open_database
from storage.errors import StorageError
from storage.hosts import Hosts
from storage.objects import ObjectStore
from storage.outbox import Outbox
from storage.people import SERVICE, Action
from storage.queue import Queue
from storage.studies import Studies
from storage.trials import Trials

SHARED_IDLE_S = 3600.0  # what another host writes is never still for so long
HASHING_S = 2.0  # the modalities wait; what is not hashed by then is when it is used


def recover(settings: Settings) -> None:
    """Bring the storage into order after whatever ended the last run: step 8 of
    docs/reliability.md, under the lock on the root.

    Raises StorageError where it cannot be used.
    """
    log, database = logs.get(), open_database(settings.storage.url)
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
    host = settings.storage.host
    objects.sweep(SHARED_IDLE_S if host else 0.0)
    # The lock on the root is ours: whoever claimed anything here is dead
    now = database.clock()
    queue, outbox = Queue(database), Outbox(database)
    released = queue.release_all(now, host) + outbox.release_all(host)
    if released:
        log.warning(Event.CLAIMS_RELEASED, process="all", count=released)
    needed = [*outbox.open_objects(), *Studies(database).open_objects(), *queue.open_objects()]
    tell_objects(Bell(database), unsound_within(objects, needed, HASHING_S), now)
    Audit(database).append(SERVICE, Action.SERVICE_STARTED, at=now)
    database.close()


class Claims:
    """What the processes of the service hold."""

    def __init__(self, settings: Settings) -> None:
        self._database = open_database(settings.storage.url)
        self._queue, self._outbox = Queue(self._database), Outbox(self._database)
        self._host = settings.storage.host.removeprefix("@")
        self._trials = Trials(self._database)

    def stopped(self) -> None:
        """Note that the service has ended in order."""
        now = self._database.clock()
        Audit(self._database).append(SERVICE, Action.SERVICE_STOPPED, at=now)

    def release(self, role: str, owner: str, because: str) -> int:
        """Give back at once what a process held that has died; return how many claims."""
        if role == "worker":
            return self._queue.release(owner, self._database.clock(), because)
        return self._outbox.release(owner) if role == "delivery" else 0

    def overdue(self) -> set[str]:
        """Return who holds a claim on an image or a study past its lease."""
        return self._queue.overdue(self._database.clock())

    def release_overdue(self) -> None:
        """Give back what is held past its lease, by whomever."""
        self._queue.release_expired(self._database.clock())

    def live(self, roles: Sequence[str]) -> dict[str, int]:
        """Say that this host lives; give back what silent ones held, and return how much of each.

        Nothing where the database is this host's alone.
        """
        if not self._host:
            return {}
        hosts, now = Hosts(self._database), self._database.clock()
        hosts.seen(self._host, roles, now)
        return hosts.bury(now)

    def in_trial(self) -> bool:
        """Whether a candidate is to classify beside what serves."""
        return self._trials.open() is not None

    def close(self) -> None:
        """Close every connection; the next use opens one again."""
        self._database.close()
