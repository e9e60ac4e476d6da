"""Certificates whose files are changed while the service runs: taken up, or an alarm."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from daemon import process
from daemon.errors import CertificateUnusable
from daemon.settings import PacsSettings
from daemon.tls import Credentials, client_credentials

if TYPE_CHECKING:
    from storage.database import Database

LOOK_EVERY_S = 2.0


class CertificateAlarm:
    """The alarm of one table of the settings."""

    def __init__(self, database: Database, subject: str) -> None:
        from daemon.alarms import Bell  # brings the database along

        self._bell = Bell(database)
        self._subject = subject
        self._told: str | None = ""  # what it says; not known at first

    def look(self, trouble: str | None) -> None:
        """Raise it, or clear it, where that has changed. Raises StorageError."""
        from storage.alarm_records import AlarmKind

        if trouble == self._told:
            return
        if trouble:
            self._bell.ring(AlarmKind.CERTIFICATE, self._subject, {"reason": trouble}, time.time())
        else:
            self._bell.still(AlarmKind.CERTIFICATE, self._subject, time.time())
        self._told = trouble

    def follow(self, credentials: Credentials) -> None:
        """Have changed files looked at, and say what became of it. Raises StorageError."""
        credentials.context()
        self.look(credentials.trouble)


class Renewal:
    """The delivery's duty to look at the certificates for each PACS."""

    def __init__(self, every: Iterable[PacsSettings], database: Database) -> None:
        self._alarms = {
            one: CertificateAlarm(database, f"pacs.{one.name}") for one in every if one.tls
        }

    def step(self, stop: process.Stop) -> float:
        """Look at them all. Raises StorageError."""
        del stop
        for pacs, alarm in self._alarms.items():
            assert pacs.tls is not None
            try:
                alarm.follow(client_credentials(pacs.tls))
            except CertificateUnusable as error:  # from the start
                alarm.look(str(error))
        return LOOK_EVERY_S if self._alarms else 3600.0

    def mend(self) -> None:
        """Nothing is held."""

    def end(self) -> None:
        """Nothing is open."""
