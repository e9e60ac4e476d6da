"""How a run gives way to images: by the system's means, and by waiting while any is in work.

The lowest priority alone is not enough: two processes that run in turn on a core empty each
other's caches, and a step of the network that has begun is not taken back.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from storage.database import Database
from storage.errors import StorageError
from storage.queue import Queue

NICE = 19
LONGEST_S = 2.0
"""A run waits so long before each step at most: a service that is never idle is to learn too."""
SHARE = 4.0
"""Nor longer than so many times what the step before took: a run of many short ones is to end."""

LOOK_EVERY_S = 0.05


def step_back() -> None:
    """Let this process run when nothing else wants to, on half of the cores, as far as the system
    allows it. What computes takes as many threads as there are cores for it."""
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError, AttributeError):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[len(cores) // 2 :])


class Courtesy:
    """Waits before a step while images are in work."""

    def __init__(self, database: Database) -> None:
        self._queue = Queue(database)
        self._since: float | None = None  # when the step that now ends began

    def __call__(self) -> None:
        """Return when no image waits or is worked on, and after a while in any case."""
        now = time.monotonic()
        took = LONGEST_S if self._since is None else now - self._since
        until = now + min(LONGEST_S, SHARE * took)
        with suppress(StorageError):  # busy: the step is not worth a fault
            while time.monotonic() < until and self._queue.is_busy():
                time.sleep(min(LOOK_EVERY_S, max(0.0, until - time.monotonic())))
        self._since = time.monotonic()
