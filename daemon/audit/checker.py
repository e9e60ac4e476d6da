"""Checks the chain of the audit trail beside the service's work, a slice at a time.

At the start and each hour what is new since the last check; each so many days all of it, against
the hashes of every mark. A start waits for neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from daemon import logs, process
from daemon.events import Event
from storage.audit import FIRST, Audit, Verified
from storage.audit_marks import Marked, Marks
from storage.database import Database
from storage.people import SERVICE, Action, Mark

SLICE = 500  # rows between two waits: some 10 ms
PAUSE_S = 0.05
EVERY_S = 3600.0
DAY_S = 86_400.0


class Checker:
    """A duty of the delivery process."""

    def __init__(
        self,
        database: Database,
        days: int,
        clock: Callable[[], float] = time.time,
        slice_rows: int = SLICE,
    ) -> None:
        """`days` between two checks of the whole trail."""
        self._audit, self._marks = Audit(database), Marks(database)
        self._days_s, self._clock, self._slice = days * DAY_S, clock, slice_rows
        self._at: Verified | None = None  # how far the check in work is
        self._mark = Mark.CHECKED
        self._known: dict[int, str] = {}

    def step(self, stop: process.Stop) -> float:
        """Check a slice; return how long nothing is to do."""
        del stop
        at = self._at or self._begin()
        found = self._audit.verify_on(at, self._known, self._slice)
        if found.broken is None and found.rows > at.rows:
            self._at = found
            return PAUSE_S
        self._at = None
        self._end(found)
        return EVERY_S

    def mend(self) -> None:
        """Begin again from the mark."""
        self._at = None

    def end(self) -> None:
        """Nothing is open."""

    def _begin(self) -> Verified:
        whole = self._marks.of(Mark.WHOLE)
        if self._clock() - whole.at >= self._days_s:
            self._mark, self._known = Mark.WHOLE, self._marks.hashes()
            return Verified(0, FIRST, None)
        self._mark, self._known = Mark.CHECKED, {}
        checked = self._marks.of(Mark.CHECKED)
        return Verified(checked.row, checked.sha256, None)

    def _end(self, found: Verified) -> None:
        log, now = logs.get(), self._clock()
        before = self._marks.of(self._mark)
        if found.broken is None:
            where = Marked(found.rows, found.head, now)
            self._marks.put(self._mark, where)
            if self._mark is Mark.WHOLE:
                self._marks.put(Mark.CHECKED, where)
                log.info(Event.AUDIT_VERIFIED, rows=found.rows, head=found.head)
            return
        log.critical(Event.AUDIT_BROKEN, row=found.broken, sound=found.rows)
        self._marks.put(self._mark, Marked(before.row, before.sha256, now, found.broken))
        if before.broken != found.broken:  # once for each break
            detail = {"row": found.broken, "sound": found.rows}
            self._audit.append(SERVICE, Action.AUDIT_BROKEN, "audit", detail, at=now)
