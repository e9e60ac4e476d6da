"""The canary that did not come: an alarm, whatever kept it, until one comes through as it is known.

The run itself says why it failed (`daemon.run_canary`). Here its end is seen, and that it has none.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from daemon.alarms import Bell
from daemon.settings import Settings
from storage.alarm_records import AlarmKind
from storage.canaries import Canaries
from storage.database import Database
from storage.schedule_records import RunState

LOOK_EVERY_S = 5.0
GRACE_S = 60.0
"""For its process to start, and to tell its end itself."""

SUBJECT = "canary"


class MissingCanary:
    """Keeps the canary's alarm."""

    def __init__(
        self, settings: Settings, database: Database, clock: Callable[[], float] = time.time
    ) -> None:
        self._within_s = settings.report.study_quiet_s + settings.canary.within_s + GRACE_S
        self._canaries, self._bell = Canaries(database), Bell(database)
        self._clock = clock
        self._next_look = 0.0  # on the monotonic clock
        self._told: tuple[int, str] | None = None

    def step(self) -> None:
        """Look, where the time for it has come. Raises StorageError."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_EVERY_S
            self.look()

    def look(self) -> None:
        """Raise the alarm where a canary is missing or failed; clear it where one came through."""
        now = self._clock()
        late = self._canaries.overdue(now - self._within_s)
        if late is not None:
            self._ring(late.id, f"It has not come within {self._within_s:.0f} s of its time.", now)
            return
        last = self._canaries.last()
        if last is None:
            return
        if last.state is RunState.DONE:
            self._told = None
            self._bell.still(AlarmKind.CANARY, SUBJECT, now, f"run {last.id} came through")
        else:
            self._ring(last.id, last.reason or "It failed.", now)

    def _ring(self, run: int, reason: str, now: float) -> None:
        """Once for each run and what it says, so that a person may close it."""
        if (run, reason) != self._told:
            self._bell.ring(AlarmKind.CANARY, SUBJECT, {"run": run, "reason": reason}, now)
            self._told = run, reason
