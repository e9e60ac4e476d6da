"""Counts who is not let in, for the log and for the page Peers, and how many are.

A peer that tries a thousand times a minute must fill neither the log nor the database.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from storage.turned_away import KEPT, TurnedAway

LOG_EVERY_S = 1.0  # for each caller and reason
UNKNOWN = TurnedAway("", "", "others, too many to tell", 0, 0.0, 0.0)


class Tally:
    """What was counted since the last look. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str, str], TurnedAway] = {}
        self._logged: dict[tuple[str, str, str], float] = {}
        self._let_in = 0

    def let_in(self) -> None:
        """Count an association that was accepted."""
        with self._lock:
            self._let_in += 1

    def note(self, calling_ae: str, address: str, reason: str) -> bool:
        """Count one; return whether to log it: the same was not logged a moment ago."""
        calling_ae = "".join(one if one.isprintable() else "?" for one in calling_ae)[:16]
        key, now = (calling_ae, address, reason), time.time()
        with self._lock:
            if key not in self._counted and len(self._counted) >= KEPT:
                key = (UNKNOWN.calling_ae, UNKNOWN.address, UNKNOWN.reason)
            held = self._counted.get(key) or TurnedAway(*key, 0, now, now)
            self._counted[key] = replace(held, count=held.count + 1, last_at=now)
            quiet = now - self._logged.get(key, 0.0) < LOG_EVERY_S
            if not quiet:
                if len(self._logged) >= 4 * KEPT:
                    self._logged.clear()
                self._logged[key] = now
        return not quiet

    def take(self) -> tuple[list[TurnedAway], int]:
        """Return who was turned away, and how many were let in; begin anew."""
        with self._lock:
            counted, self._counted = self._counted, {}
            accepted, self._let_in = self._let_in, 0
        return list(counted.values()), accepted
