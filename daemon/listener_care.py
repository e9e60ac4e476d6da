"""What the listener sees to beside its associations: the queue's length, certificates, tallies."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from daemon import logs, process
from daemon.events import Event
from daemon.renewal import CertificateAlarm
from storage.errors import StorageError

if TYPE_CHECKING:
    from daemon.listener import Listener
    from storage.database import Database
    from storage.queue import Queue

LOOK_EVERY_S = 2.0


class Crowd:
    """Whether too many images wait, as it was within the last seconds."""

    def __init__(self, most: int, queue: Callable[[], Queue]) -> None:
        self._most = most
        self._queue = queue
        self._looked_at = time.monotonic()
        self._too_long = False

    def is_too_long(self) -> bool:
        """Whether no further image is to be taken. Raises StorageError."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._too_long = self._queue().is_longer_than(self._most)
        return self._too_long


class Care:
    """What is looked at every few seconds, in the listener's first thread."""

    def __init__(self, listener: Listener, database: Database) -> None:
        from storage.turned_away import add

        self._listener, self._database, self._add = listener, database, add
        self._alarm = CertificateAlarm(database, "dicom.tls")

    def look(self) -> None:
        """Keep the tally, end what is left over, raise or clear the alarm. Raises StorageError."""
        self._listener.tidy()
        counted, accepted = self._listener.tally.take()
        if counted or accepted:
            self._add(self._database, counted, accepted)
        if self._listener.credentials is not None:
            self._alarm.follow(self._listener.credentials)


def until_stopped(stop: process.Stop, listener: Listener, database: Database) -> int:
    """Look after the listener until told to stop; return the exit status."""
    care, log = Care(listener, database), logs.get()
    while not stop.wait(LOOK_EVERY_S):
        if listener.door is None or not listener.door.is_alive():
            log.critical(Event.FAULT, reason="nobody accepts connections any more")
            return process.EXIT_FAULT
        try:
            care.look()
        except StorageError as error:
            log.error(Event.FAULT, **logs.whereabouts(error))
    return 0
