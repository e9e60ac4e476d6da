"""Alarms as the service raises them: a row, and a log event when one opens or closes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon import logs
from daemon.events import Event
from storage.alarm_records import Alarm, AlarmKind
from storage.alarms import Alarms
from storage.database import Database
from storage.errors import Refused

__all__ = ["Bell"]


class Bell:
    """Raises and clears alarms, and writes each opening and closing to the log."""

    def __init__(self, database: Database) -> None:
        self._alarms = Alarms(database)
        self._log = logs.get()

    def ring(
        self,
        kind: AlarmKind,
        subject: str,
        detail: Mapping[str, Any],
        at: float,
        *,
        station: str | None = None,
        finding: str | None = None,
    ) -> Alarm:
        """As `Alarms.raise_`."""
        found = self._alarms.raise_(kind, subject, detail, at, station=station, finding=finding)
        if found.is_new:
            self._log.warning(Event.ALARM_OPENED, alarm=found.id, kind=kind, subject=subject)
        return found

    def close(self, number: int, actor: str, because: str, at: float) -> Alarm:
        """As `Alarms.close`. Raises Refused without a reason."""
        if not because.strip():
            raise Refused("A reason is needed: the history keeps it.")
        found = self._alarms.close(number, actor, because.strip(), at)
        told = {"kind": found.kind, "subject": found.subject, "by": actor}
        self._log.info(Event.ALARM_CLOSED, alarm=found.id, **told)
        return found

    def still(
        self, kind: AlarmKind, subject: str, at: float, because: str = "it is over"
    ) -> Alarm | None:
        """As `Alarms.clear`."""
        found = self._alarms.clear(kind, subject, at, because)
        if found is not None:
            self._log.info(Event.ALARM_CLOSED, alarm=found.id, kind=kind, subject=subject)
        return found
