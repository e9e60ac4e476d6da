"""Silence: a station that should have sent and has not is an alarm, until images come again.

The scheduler's process looks: what a station sends is learnt from its own last twelve weeks, by
the hour of the week (`training.silence`). A new station is learnt for two weeks first. What the
service itself was not there to receive is nobody's silence, so that neither a restart nor a clock
that was moved is an alarm.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

from daemon.alarms import Bell
from daemon.duetimes import local_zone
from storage.alarm_records import AlarmKind
from storage.arrivals import HOUR, ArrivalBook, Arrivals, Station, floor_hour
from storage.database import Database
from training.errors import TooFewCases
from training.silence import Volume, silence, volume

LOOK_EVERY_S = 60.0
FORGOTTEN_S = 28 * 24 * HOUR
"""A station that has sent nothing for so long is taken for gone."""


class Watchman:
    """Knows what each station is expected to send, and raises the alarm of those that do not."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = time.time,
        zone: str | None = None,
    ) -> None:
        """`zone`: the hospital's time zone; by default the machine's."""
        self._book = ArrivalBook(database)
        self._bell = Bell(database)
        self._clock = clock
        self._zone = ZoneInfo(zone or local_zone())
        self._next_look = 0.0  # on the monotonic clock
        self._volumes: dict[str, Volume | None] = {}  # none: it is being learnt
        self._learnt_in = 0

    def step(self) -> None:
        """Look, where the time for it has come. Raises StorageError."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_EVERY_S
            self.look()

    def look(self) -> None:
        """Count what came, and judge every station. Raises StorageError."""
        now = self._clock()
        if not self._book.look(now):
            return  # another host has just looked
        found = self._book.read(now)
        if floor_hour(now) != self._learnt_in:
            self._volumes.clear()
            self._learnt_in = floor_hour(now)
        for station in found.stations:
            self._judge(station, found, now)

    def _judge(self, station: Station, found: Arrivals, now: float) -> None:
        if now - station.last_at > FORGOTTEN_S:
            self._bell.still(AlarmKind.SILENCE, station.name, now, "it is taken for gone")
            return
        if station.name not in self._volumes:
            self._volumes[station.name] = self._learn(station, found)
        history = self._volumes[station.name]
        if history is None:
            return
        # Up to where all that came is read: an image that waits may be this station's
        gap = silence(history, station.last_at, found.known_until, found.watched)
        if gap.alarm:
            detail = {"last_at": station.last_at, "expected": round(gap.expected, 1)}
            self._bell.ring(AlarmKind.SILENCE, station.name, detail, now, station=station.name)
        else:
            self._bell.still(AlarmKind.SILENCE, station.name, now, "images come again")

    def _learn(self, station: Station, found: Arrivals) -> Volume | None:
        """From its first image to its last: neither what was before nor its silence is its use."""
        first, last = min(station.hours), floor_hour(station.last_at)
        watched = {hour: s for hour, s in found.watched.items() if first <= hour <= last}
        try:
            return volume(station.hours, watched, self._zone)
        except TooFewCases:
            return None
