"""What each worker has loaded: whether a promotion has arrived."""

from __future__ import annotations

from sqlalchemy import select

from storage.bundles import Loaded
from storage.database import Database, insert_or
from storage.results import cut
from storage.schema import worker


class Workers:
    """One row for each worker. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def loaded(self, one: Loaded) -> None:
        """Note what a worker has loaded, in place of what it had."""
        values = {
            "version": one.version,
            "engine": one.engine,
            "reason": cut(one.reason),
            "loaded_at": one.loaded_at,
        }
        with self._database.write() as connection:
            new = insert_or(connection, worker).values(owner=one.owner, **values)
            connection.execute(
                new.on_conflict_do_update(index_elements=[worker.c.owner], set_=values)
            )

    def all(self) -> tuple[Loaded, ...]:
        """Return what each worker has loaded last."""
        with self._database.read() as connection:
            rows = connection.execute(select(worker).order_by(worker.c.owner))
            return tuple(Loaded(r.owner, r.version, r.engine, r.reason, r.loaded_at) for r in rows)
