"""What each PACS takes, as it last said."""

from __future__ import annotations

import json

from sqlalchemy import select

from storage.database import Database, insert_or
from storage.records import Peer
from storage.schema import peer


class Peers:
    """One row for each PACS. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def recall(self, pacs: str) -> Peer | None:
        """Return what a PACS was last learnt to take, None where it was never asked."""
        with self._database.read() as connection:
            row = connection.execute(select(peer).where(peer.c.pacs == pacs)).first()
        if row is None:
            return None
        return Peer(row.pacs, row.fingerprint, json.loads(row.accepted), row.learnt_at)

    def learn(self, one: Peer) -> None:
        """Remember what a PACS takes, in place of what was known."""
        values = {
            "fingerprint": one.fingerprint,
            "accepted": json.dumps(one.accepted, sort_keys=True),
            "learnt_at": one.learnt_at,
        }
        with self._database.write() as connection:
            connection.execute(
                insert_or(connection, peer)
                .values(pacs=one.pacs, **values)
                .on_conflict_do_update(index_elements=["pacs"], set_=values)
            )
