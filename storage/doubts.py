"""Findings in doubt: their probabilities do not hold, by reviews. Lines are only ever added.

A doubt is of one bundle: another one, a recalibrated one too, begins without.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from storage.audit import Audit
from storage.database import Database
from storage.errors import NotFound, Refused
from storage.people import SERVICE, Action
from storage.results import AnyRow, cut
from storage.schema import doubt


@dataclass(frozen=True, slots=True)
class DoubtLine:
    """A finding came into doubt, or a person lifted that."""

    digest: str
    finding: str
    doubted: bool
    actor: str
    reason: str
    at: float


class Doubts:
    """The doubts of a service. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    def in_force(self, digest: str) -> dict[str, DoubtLine]:
        """Return the findings of a bundle that are in doubt, with why."""
        with self._database.read() as connection:
            return doubts_of(connection, digest)

    def lines(self, digest: str) -> tuple[DoubtLine, ...]:
        """Return what was ever said of a bundle's findings, the newest first."""
        query = select(doubt).where(doubt.c.digest == digest).order_by(doubt.c.id.desc())
        with self._database.read() as connection:
            return tuple(map(_line, connection.execute(query)))

    def doubt(self, digest: str, finding: str, reason: str, at: float) -> bool:
        """Put a finding in doubt; return whether it was not before."""
        with self._database.write() as connection:
            if finding in doubts_of(connection, digest):
                return False
            self._add(connection, DoubtLine(digest, finding, True, SERVICE, cut(reason), at))
        return True

    def lift(self, digest: str, finding: str, actor: str, reason: str, at: float) -> None:
        """Let a finding flag again: a person's word. The test goes on with later reviews alone.

        Raises NotFound where it is not in doubt, Refused without a reason.
        """
        if not reason.strip():
            raise Refused("A reason is needed: the history keeps it.")
        with self._database.write() as connection:
            if finding not in doubts_of(connection, digest):
                raise NotFound(f'"{finding[:64]}" of the bundle {digest[:12]} is not in doubt.')
            line = DoubtLine(digest, finding, False, actor, cut(reason.strip()), at)
            self._add(connection, line)

    def _add(self, connection: Connection, line: DoubtLine) -> None:
        values = {name: getattr(line, name) for name in DoubtLine.__slots__}
        connection.execute(insert(doubt).values(**values))
        action = Action.FINDING_DOUBTED if line.doubted else Action.DOUBT_LIFTED
        subject = f"{line.digest[:12]} {line.finding}"
        self._audit.append(line.actor, action, subject, {"reason": line.reason}, at=line.at)


def doubts_of(connection: Connection, digest: str) -> dict[str, DoubtLine]:
    """Return the findings of a bundle that are in doubt: the last line of each says so."""
    newest = select(func.max(doubt.c.id)).where(doubt.c.digest == digest).group_by(doubt.c.finding)
    rows = connection.execute(select(doubt).where(doubt.c.id.in_(newest), doubt.c.doubted))
    return {row.finding: _line(row) for row in rows}


def _line(row: AnyRow) -> DoubtLine:
    return DoubtLine(**{name: getattr(row, name) for name in DoubtLine.__slots__})
