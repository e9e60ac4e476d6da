"""Times of two ways or more to do the same, taken in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

Measured = Iterator[tuple[str, float, str]]
"""Name, value and unit of each figure."""

WARM = 3  # runs of each that are not counted


def in_turn(*ways: Callable[[], object], runs: int = 30) -> list[float]:
    """Median milliseconds of each way; they take turns, so that a load meets all of them."""
    took: list[list[float]] = [[] for _ in ways]
    for number in range(runs + WARM):
        for way, times in zip(ways, took, strict=True):
            started = time.perf_counter()
            way()
            if number >= WARM:
                times.append(time.perf_counter() - started)
    return [1000 * float(np.median(times)) for times in took]
