"""Who was not let in, and why: counted, not listed one by one. No patient data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select

from storage.database import Database, insert_or
from storage.schema import turned_away

KEPT = 200  # rows; the latest


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """One AE title (empty: none was given) at one address, turned away for one reason."""

    calling_ae: str
    address: str
    reason: str
    count: int
    first_at: float
    last_at: float


def add(database: Database, counted: Iterable[TurnedAway]) -> None:
    """Add what was counted since the last time."""
    table = turned_away
    with database.write() as connection:
        for one in counted:
            new = insert_or(connection, table).values(
                calling_ae=one.calling_ae[:16], address=one.address[:64], reason=one.reason[:128],
                count=one.count, first_at=one.first_at, last_at=one.last_at,
            )  # fmt: skip
            connection.execute(
                new.on_conflict_do_update(
                    index_elements=[table.c.calling_ae, table.c.address, table.c.reason],
                    set_={"count": table.c.count + one.count, "last_at": one.last_at},
                )
            )
        latest = select(table.c.id).order_by(table.c.last_at.desc(), table.c.id.desc()).limit(KEPT)
        connection.execute(delete(table).where(table.c.id.not_in(latest)))


def since(database: Database, when: float) -> list[TurnedAway]:
    """Return who was turned away since then, the latest first."""
    table = turned_away
    columns = [one for one in table.c if one is not table.c.id]
    query = select(*columns).where(table.c.last_at >= when).order_by(table.c.last_at.desc())
    with database.read() as connection:
        return [TurnedAway(*row) for row in connection.execute(query)]
