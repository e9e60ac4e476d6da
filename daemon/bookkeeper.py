"""Keeps what metrics count, so that no process has to count from the first day."""

from __future__ import annotations

import time

from storage.database import Database
from storage.sums import Tally

KEEP_EVERY_S = 60.0
STEP_S = 0.5  # of counting in one go, where much is not counted yet


class Bookkeeper:
    """Keeps the sums in the database, in the scheduler's process."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._tally = Tally(database)
        self._due = 0.0

    def step(self) -> None:
        """Count on and keep it, once a minute; where it has not come to the end, at once again."""
        now = time.monotonic()
        if now < self._due:
            return
        before = self._tally.counted
        self._tally.catch_up(STEP_S)
        if self._tally.counted > before:
            self._tally.keep()
        took_it_all = time.monotonic() - now < STEP_S
        self._due = now + KEEP_EVERY_S if took_it_all else 0.0
