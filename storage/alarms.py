"""Alarms: what a person should look at. Whatever finds it raises one, again and again while it
lasts, and clears it when it is over; one alarm stands for all that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, select, update

from storage.alarm_records import Alarm, AlarmKind, AlarmState
from storage.audit import Audit
from storage.database import Database, insert_or
from storage.errors import NotFound
from storage.people import SERVICE, Action
from storage.results import AnyRow, cut
from storage.schema import alarm


class Alarms:
    """The alarms of a service. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    def raise_(
        self,
        kind: AlarmKind,
        subject: str,
        detail: Mapping[str, Any],
        at: float,
        *,
        station: str | None = None,
        finding: str | None = None,
    ) -> Alarm:
        """Open an alarm, or count it where it is open; `is_new` tells which.

        kind and subject name it. detail: JSON values; neither it nor the subject hold patient data.
        """
        said = json.dumps(dict(detail), sort_keys=True)
        with self._database.write() as connection:
            new = insert_or(connection, alarm).values(
                kind=kind, subject=subject, station=station, finding=finding,
                state=AlarmState.OPEN, opened_at=at, last_seen_at=at, count=1, detail=said,
            )  # fmt: skip
            again = new.on_conflict_do_update(
                index_elements=[alarm.c.kind, alarm.c.subject],
                index_where=alarm.c.closed_at.is_(None),
                set_={"count": alarm.c.count + 1, "last_seen_at": at, "detail": said},
            )
            return to_alarm(connection.execute(again.returning(*alarm.c)).one())

    def clear(
        self,
        kind: AlarmKind,
        subject: str,
        at: float,
        because: str = "it is over",
    ) -> Alarm | None:
        """Close what is over; return the alarm, None where none was open."""
        which = (alarm.c.kind == kind) & (alarm.c.subject == subject)
        with self._database.read() as connection:  # most often there is none: no write for that
            if connection.execute(_open().where(which)).first() is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(_open().where(which)).first()
            return None if row is None else self._close(connection, row.id, SERVICE, because, at)

    def close(self, number: int, actor: str, because: str, at: float) -> Alarm:
        """Close an alarm by a person's word; should its cause last, it opens anew.

        Raises NotFound where it is not open.
        """
        with self._database.write() as connection:
            found = self._of(connection, number)
            self._audit.append(
                actor, Action.ALARM_CLOSED, _named(found), {"reason": cut(because)}, at=at
            )
            return self._close(connection, number, actor, because, at)

    def acknowledge(self, number: int, actor: str, at: float) -> Alarm:
        """Note that a person knows of it. Raises NotFound where it is not open."""
        with self._database.write() as connection:
            found = self._of(connection, number)
            if found.state is AlarmState.ACKNOWLEDGED:
                return found
            values = {
                "state": AlarmState.ACKNOWLEDGED, "acknowledged_by": actor, "acknowledged_at": at,
            }  # fmt: skip
            row = connection.execute(
                update(alarm).where(alarm.c.id == number).values(**values).returning(*alarm.c)
            ).one()
            self._audit.append(actor, Action.ALARM_ACKNOWLEDGED, _named(found), at=at)
            return to_alarm(row)

    def open(self) -> tuple[Alarm, ...]:
        """Return what is open or acknowledged, the unacknowledged first, the last seen first."""
        order = (alarm.c.acknowledged_at.is_not(None), alarm.c.last_seen_at.desc(), alarm.c.id)
        with self._database.read() as connection:
            return tuple(map(to_alarm, connection.execute(_open().order_by(*order))))

    def recent(self, limit: int = 200) -> tuple[Alarm, ...]:
        """Return all, closed ones too, the last seen first."""
        query = select(alarm).order_by(alarm.c.last_seen_at.desc(), alarm.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return tuple(map(to_alarm, connection.execute(query)))

    def find(self, kind: AlarmKind, subject: str) -> Alarm | None:
        """Return the open alarm of a kind and a subject, None where there is none."""
        which = (alarm.c.kind == kind) & (alarm.c.subject == subject)
        with self._database.read() as connection:
            row = connection.execute(_open().where(which)).first()
        return None if row is None else to_alarm(row)

    def waiting(self) -> int:
        """Return how many nobody has acknowledged."""
        query = select(func.count()).select_from(alarm).where(alarm.c.closed_at.is_(None))
        with self._database.read() as connection:
            found = connection.execute(query.where(alarm.c.state == AlarmState.OPEN))
            return int(found.scalar_one())

    def _of(self, connection: Connection, number: int) -> Alarm:
        row = connection.execute(_open().where(alarm.c.id == number)).first()
        if row is None:
            raise NotFound(f"There is no open alarm {number}.")
        return to_alarm(row)

    def _close(
        self, connection: Connection, number: int, actor: str, because: str, at: float
    ) -> Alarm:
        values = {
            "state": AlarmState.CLOSED, "closed_at": at, "closed_by": actor,
            "closed_because": cut(because),
        }  # fmt: skip
        row = connection.execute(
            update(alarm).where(alarm.c.id == number).values(**values).returning(*alarm.c)
        ).one()
        return to_alarm(row)


def to_alarm(row: AnyRow) -> Alarm:
    """Read a row of the table."""
    return Alarm(
        **{name: getattr(row, name) for name in _PLAIN},
        state=AlarmState(row.state),
        detail=json.loads(row.detail),
    )


_PLAIN = (
    "id", "kind", "subject", "station", "finding", "opened_at", "last_seen_at", "count",
    "acknowledged_by", "acknowledged_at", "closed_at", "closed_by", "closed_because",
)  # fmt: skip


def _open() -> Select[Any]:
    return select(alarm).where(alarm.c.closed_at.is_(None))


def _named(one: Alarm) -> str:
    return f"{one.kind} {one.subject}"
