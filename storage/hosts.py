"""The hosts that share a database: each says every few seconds that it lives.

What a host held that has gone silent is given back by another. A host that was only cut off finds
its claims lost: the fencing token of each keeps its late results out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from storage.database import Database, insert_or
from storage.outbox import Outbox
from storage.queue import Queue
from storage.schema import host

SILENT_S = 30.0  # as long as an image's lease


@dataclass(frozen=True, slots=True)
class Host:
    """A host, what it does, and when it last said so, UNIX seconds by the database's clock."""

    name: str
    roles: tuple[str, ...]
    seen_at: float


class Hosts:
    """One row for each host. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def seen(self, name: str, roles: Sequence[str], now: float) -> None:
        """Note that a host lives."""
        values = {"roles": " ".join(roles), "seen_at": now}
        with self._database.write() as connection:
            new = insert_or(connection, host).values(name=name, **values)
            connection.execute(new.on_conflict_do_update(index_elements=[host.c.name], set_=values))

    def bury(self, now: float) -> dict[str, int]:
        """Give back what silent hosts held; return how many claims of each."""
        silent = select(host.c.name).where(host.c.seen_at < now - SILENT_S)
        with self._database.read() as connection:
            names = list(connection.execute(silent).scalars())
        queue, outbox = Queue(self._database), Outbox(self._database)
        given_back = {}
        for name in names:
            with self._database.write() as connection:
                mine = host.c.name == name
                gone = delete(host).where(mine, host.c.seen_at < now - SILENT_S)
                if connection.execute(gone).rowcount == 1:  # nobody else has, and it is silent yet
                    mark = f"@{name}"
                    given_back[name] = queue.release_all(now, mark) + outbox.release_all(mark)
        return given_back

    def all(self) -> tuple[Host, ...]:
        """Return the hosts that live, or went silent a moment ago."""
        with self._database.read() as connection:
            rows = connection.execute(select(host).order_by(host.c.name))
            return tuple(Host(row.name, tuple(row.roles.split()), row.seen_at) for row in rows)
