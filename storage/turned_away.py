"""Who was not let in, and why: counted, not listed one by one. No patient data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import delete, select

from storage.counting import Key
from storage.database import Database, insert_or
from storage.schema import turned_away
from storage.sums import ASSOCIATIONS
from storage.sums import add as add_sums

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


def add(database: Database, counted: Iterable[TurnedAway], accepted: int = 0) -> None:
    """Add what was counted since the last time; `accepted`: associations that were let in."""
    table, counted = turned_away, tuple(counted)
    sums: Counter[Key] = Counter({(ASSOCIATIONS, ("accepted", "")): accepted} if accepted else {})
    for one in counted:
        # After a colon stands what a TLS library says: too many values for a metric
        sums[ASSOCIATIONS, ("refused", one.reason.partition(":")[0][:64])] += one.count
    with database.write() as connection:
        add_sums(connection, sums)
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
        if not counted:
            return
        latest = select(table.c.id).order_by(table.c.last_at.desc(), table.c.id.desc()).limit(KEPT)
        connection.execute(delete(table).where(table.c.id.not_in(latest)))


def since(database: Database, when: float) -> list[TurnedAway]:
    """Return who was turned away since then, the latest first."""
    table = turned_away
    columns = [one for one in table.c if one is not table.c.id]
    query = select(*columns).where(table.c.last_at >= when).order_by(table.c.last_at.desc())
    with database.read() as connection:
        return [TurnedAway(*row) for row in connection.execute(query)]
