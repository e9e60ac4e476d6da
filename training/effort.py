"""Where the time of a training goes: one line that says what limits it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Effort:
    """Seconds by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time of a block."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] = self.seconds.get(what, 0.0) + time.monotonic() - start

    def line(self) -> str:
        """What took longest, in one sentence."""
        total = sum(self.seconds.values())
        if total <= 0:
            return "Nothing was left to do."
        what, most = max(self.seconds.items(), key=lambda item: item[1])
        cores = len(os.sched_getaffinity(0))
        return f"Limited by {what}: {most / total:.0%} of {total:.0f} s, on {cores} cores."
