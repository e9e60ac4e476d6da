"""Retention: files that nobody needs any more go, a few at a time; the rows stay."""

from __future__ import annotations

import time

from daemon import logs, process
from daemon.events import Event
from storage.audit import Audit
from storage.database import Database
from storage.objects import ObjectStore
from storage.people import SERVICE, Action
from storage.retention import Retention

EVERY_S = 3600.0
BATCH = 100  # files between two commits
RUN = 10_000  # files in one run, so that a long list is no storm
DAY_S = 86_400.0


class Sweeper:
    """Removes the files of answered and delivered studies that are older than so many days."""

    def __init__(
        self, days: int, database: Database, objects: ObjectStore, labelled_days: int = 0
    ) -> None:
        """`labelled_days` are those that labelled images are kept; 0 is for ever."""
        self._keep_s = days * DAY_S
        self._labelled_s = labelled_days * DAY_S
        self._database, self._audit = database, Audit(database)
        self._retention = Retention(database)
        self._objects = objects

    def step(self, stop: process.Stop) -> float:
        """Remove what may go, at most a run of it; return how long nothing is to do."""
        removed = 0
        try:
            while not stop and removed < RUN:
                now = time.time()
                labelled = now - self._labelled_s if self._labelled_s else None
                batch = self._retention.begin(now - self._keep_s, BATCH, labelled)
                if not batch:
                    break
                self._objects.remove(batch)
                with self._database.write():
                    self._retention.end(batch)
                    self._audit.append(
                        SERVICE, Action.OBJECTS_REMOVED, detail={"count": len(batch)}, at=now
                    )
                removed += len(batch)
        except OSError as error:  # the next run tries the same files again
            logs.get().error(Event.FAULT, **logs.whereabouts(error))
        if removed:
            logs.get().info(Event.OBJECTS_REMOVED, count=removed)
        return EVERY_S

    def mend(self) -> None:
        """Nothing to do: the next run ends what was begun."""

    def end(self) -> None:
        """Nothing is open."""
