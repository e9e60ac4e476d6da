"""The audit trail: who did what, to what, when. Each row's hash covers the row before it, so that
a row that was changed, taken out or put in shows.

The hash is SHA-256 over the hash of the row before and the row in canonical JSON. Whoever can write
the whole database can make the whole chain anew; a head that was noted elsewhere (the log has one
of each start and each check) tells that too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Row, func, insert, select, text

from storage.database import Database
from storage.people import Action
from storage.schema import audit

FIRST = "0" * 64  # stands for the hash before the first row
BATCH = 1000
READ_AGAIN_S = 60.0  # a study that is read on is one reading
LOCK = 0x48494C55  # PostgreSQL's advisory lock of the chain
_NEWEST = select(audit.c.id, audit.c.sha256).where(
    audit.c.id == select(func.max(audit.c.id)).scalar_subquery()
)

Detail = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the trail."""

    id: int
    at: float
    actor: str
    action: str  # an Action; kept as it was written, should the catalogue change
    subject: str
    detail: dict[str, str | int | float | bool]
    sha256: str


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What to look for; None is anything."""

    since: float | None = None
    until: float | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of the chain found."""

    rows: int  # that are sound, from the first on
    head: str  # hash of the last sound row
    broken: int | None  # id of the first row that is not what it was, or is missing


class Audit:
    """The trail. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def append(
        self,
        actor: str,
        action: Action,
        subject: str = "",
        detail: Detail | None = None,
        *,
        at: float,
    ) -> AuditRow:
        """Add a row, within the caller's write transaction where there is one.

        `actor` is a login, `subject` a UID or a key; neither these nor `detail` hold patient data.
        """
        with self._database.write() as connection:
            if connection.dialect.name == "postgresql":  # SQLite has one writer anyhow
                connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            last = connection.execute(_NEWEST).first()
            number, before = (last.id, last.sha256) if last is not None else (0, FIRST)
            values = {
                "id": number + 1, "at": float(at), "actor": actor, "action": str(action),
                "subject": subject, "detail": json.dumps(dict(detail or {}), sort_keys=True),
            }  # fmt: skip
            digest = _hash(before, values)
            connection.execute(insert(audit).values(**values, sha256=digest))
        return AuditRow(
            number + 1, float(at), actor, str(action), subject, dict(detail or {}), digest
        )

    def study_read(self, actor: str, study_uid: str, at: float) -> bool:
        """Note that a person reads a patient's study; return whether that is a new reading.

        To look on within a minute is the same reading, and costs no write.
        """
        known = (
            select(audit.c.id)
            .where(audit.c.subject == study_uid, audit.c.actor == actor)
            .where(audit.c.action == Action.STUDY_READ)
            .where(audit.c.at > at - READ_AGAIN_S, audit.c.at <= at)
            .order_by(audit.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            if connection.execute(known).first() is not None:
                return False
        self.append(actor, Action.STUDY_READ, study_uid, at=at)
        return True

    def search(
        self, query: AuditQuery, limit: int, before: int | None = None
    ) -> tuple[AuditRow, ...]:
        """Return rows that fit, newest first; those older than the row `before`."""
        wanted = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(audit.c.id < before)
        if query.since is not None:
            wanted = wanted.where(audit.c.at >= query.since)
        if query.until is not None:
            wanted = wanted.where(audit.c.at < query.until)
        for name in ("actor", "action", "subject"):
            if (value := getattr(query, name)) is not None:
                wanted = wanted.where(audit.c[name] == value)
        with self._database.read() as connection:
            return tuple(_row(row) for row in connection.execute(wanted))

    def head(self) -> Verified:
        """Return how many rows there are and the newest one's hash, unchecked."""
        with self._database.read() as connection:
            last = connection.execute(_NEWEST).first()
        return Verified(0, FIRST, None) if last is None else Verified(last.id, last.sha256, None)

    def verify(self, known: Mapping[int, str] | None = None) -> Verified:
        """Check the chain from the first row on; one batch at a time is in memory.

        `known`: which hash rows had when somebody noted it, by id. A trail that was cut off before
        such a row, or made anew, is broken.
        """
        found = Verified(0, FIRST, None)
        while True:
            step = self.verify_on(found, known)
            if step.broken is not None or step.rows == found.rows:
                return step
            found = step

    def verify_on(
        self, sound: Verified, known: Mapping[int, str] | None = None, limit: int = BATCH
    ) -> Verified:
        """Check up to `limit` rows after those that are known to be sound.

        The same number of rows: there are no more, and none was cut off.
        """
        from_here = select(audit).where(audit.c.id >= max(sound.rows, 1)).order_by(audit.c.id)
        with self._database.read() as connection:
            rows = connection.execute(from_here.limit(limit + 1)).all()
        if sound.rows:
            first, rows = rows[:1], rows[1:]
            if not first or first[0].id != sound.rows or first[0].sha256 != sound.head:
                return Verified(max(0, sound.rows - 1), FIRST, sound.rows)
        number, before = sound.rows, sound.head
        for row in rows[:limit]:
            values = {name: getattr(row, name) for name in _HASHED}
            noted = row.sha256 if known is None else known.get(row.id, row.sha256)
            if row.id != number + 1 or row.sha256 != _hash(before, values) or noted != row.sha256:
                return Verified(number, before, number + 1)
            before, number = row.sha256, row.id
        if not rows and number < max(known or {0: ""}):
            return Verified(number, before, number + 1)
        return Verified(number, before, None)

    def after(self, row_id: int, limit: int) -> tuple[AuditRow, ...]:
        """Return up to `limit` rows after that one, in order."""
        query = select(audit).where(audit.c.id > row_id).order_by(audit.c.id).limit(limit)
        with self._database.read() as connection:
            return tuple(map(_row, connection.execute(query)))


_HASHED = ("id", "at", "actor", "action", "subject", "detail")


def _hash(before: str, values: Mapping[str, object]) -> str:
    canonical = json.dumps([before, *(values[name] for name in _HASHED)], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _row(row: Row[tuple[object, ...]]) -> AuditRow:
    return AuditRow(
        row.id, row.at, row.actor, row.action, row.subject, json.loads(row.detail), row.sha256
    )
