"""Marks in the audit trail: up to where it was checked, and sent.

A mark keeps the hash that its row had: a trail that was cut off before it, or made anew, does not
fit it. Whoever can write the whole database can write the marks too; the collector's copy, and the
head that each start logs, are out of reach.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from storage.audit import FIRST
from storage.database import Database, insert_or
from storage.people import Mark
from storage.schema import audit_mark


@dataclass(frozen=True, slots=True)
class Marked:
    """A mark: the last row that it covers, which hash that had, and when it was set."""

    row: int = 0
    sha256: str = FIRST
    at: float = 0.0  # 0: never
    broken: int | None = None  # the row that was found not to be what was written


class Marks:
    """The marks. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def of(self, mark: Mark) -> Marked:
        """Return a mark; before the first row where it was never set."""
        query = select(audit_mark).where(audit_mark.c.name == mark)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return Marked() if row is None else Marked(row.row_id, row.sha256, row.at, row.broken)

    def put(self, mark: Mark, where: Marked) -> None:
        """Set a mark."""
        values = {
            "row_id": where.row, "sha256": where.sha256, "at": where.at, "broken": where.broken,
        }  # fmt: skip
        with self._database.write() as connection:
            new = insert_or(connection, audit_mark).values(name=str(mark), **values)
            connection.execute(
                new.on_conflict_do_update(index_elements=[audit_mark.c.name], set_=values)
            )

    def hashes(self) -> dict[int, str]:
        """Return which hash each marked row had."""
        return {found.row: found.sha256 for found in map(self.of, Mark) if found.row}
