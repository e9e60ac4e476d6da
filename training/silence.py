"""How many images a station is expected to send, and when its silence is an alarm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom  # type: ignore[import-untyped]

from training.errors import TooFewCases

HOUR = 3600.0
WEEK_HOURS = 168
MIN_WEEKS = 2
PSEUDO_WEEKS = 0.5
"""An hour of the week borrows so much from the mean of all, as a few weeks say little of it."""

YEARS = 10

SHORTEST = 5.0
"""Images that are expected in a gap before it can be an alarm."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Expected images per hour of the week, the first of which is `origin` (UNIX seconds).

    rates: (168). size: of the negative binomial distribution of a day's images, whose variance is
    mean + mean^2 / size; a holiday is no Poisson fluctuation.
    """

    origin: float
    rates: tuple[float, ...]
    size: float

    @property
    def per_year(self) -> float:
        """Images."""
        return sum(self.rates) * 52.18

    def expected(self, start: float, end: float) -> float:
        """Images between two times, UNIX seconds."""
        total, at = 0.0, (start - self.origin) / HOUR
        last = (end - self.origin) / HOUR
        while at < last:
            upto = min(last, floor(at) + 1.0)
            total += (upto - at) * self.rates[floor(at) % WEEK_HOURS]
            at = upto
        return total

    def chance_of_at_most(self, images: int, start: float, end: float) -> float:
        """Probability of so few images between two times, were all well."""
        mean = self.expected(start, end)
        if mean <= 0:
            return 1.0
        return float(nbinom.cdf(images, self.size, self.size / (self.size + mean)))


@dataclass(frozen=True, slots=True)
class Silence:
    """A station's gap. chance: of a gap so long, were all well; alarm: by the rule."""

    expected: float
    chance: float
    alarm: bool


def volume(times: Sequence[float], start: float, end: float) -> Volume:
    """From the arrival times of a station's images in [start, end), UNIX seconds.

    Raises:
        TooFewCases: the history is shorter than two weeks, or holds no image.
    """
    weeks = (end - start) / (WEEK_HOURS * HOUR)
    inside = np.array([time for time in times if start <= time < end], dtype=np.float64)
    if weeks < MIN_WEEKS or not len(inside):
        raise TooFewCases(
            f"An expected volume needs {MIN_WEEKS} weeks with images. Received: {weeks:.1f} weeks, "
            f"{len(inside)} images."
        )
    hours = np.floor((inside - start) / HOUR).astype(np.int64)
    counts = np.bincount(hours % WEEK_HOURS, minlength=WEEK_HOURS).astype(np.float64)
    covered = np.array([_hours_covered(slot, weeks) for slot in range(WEEK_HOURS)])
    mean = len(inside) / (weeks * WEEK_HOURS)
    rates = (counts + PSEUDO_WEEKS * mean) / (covered + PSEUDO_WEEKS)
    return Volume(start, tuple(rates.tolist()), _size(hours, rates, int(weeks * 7)))


def silence(history: Volume, last: float, now: float) -> Silence:
    """Whether nothing since `last` is an alarm.

    It is where so long a gap is expected less than once in `YEARS`: each image begins a gap. What
    is expected is itself an estimate, so that real false alarms come more often than that.
    """
    expected = history.expected(last, now)
    chance = history.chance_of_at_most(0, last, now)
    limit = 1 / max(1.0, YEARS * history.per_year)
    return Silence(expected, chance, expected >= SHORTEST and chance < limit)


def alarm_after(history: Volume, last: float, horizon: float = 14 * 24 * HOUR) -> float | None:
    """When silence since `last` becomes an alarm, UNIX seconds; None not within the horizon."""
    low, high = last, last + horizon
    if not silence(history, last, high).alarm:
        return None
    while high - low > 1.0:
        middle = (low + high) / 2
        low, high = (low, middle) if silence(history, last, middle).alarm else (middle, high)
    return high


def _hours_covered(slot: int, weeks: float) -> float:
    """How often the history holds this hour of the week."""
    return float(floor(weeks) + np.clip((weeks % 1) * WEEK_HOURS - slot, 0, 1))


def _size(hours: NDArray[np.int64], rates: NDArray[np.float64], days: int) -> float:
    """By moments over whole days, each against its own mean; at most 1000, which is Poisson."""
    seen = np.bincount(hours // 24, minlength=days)[:days].astype(np.float64)
    mean = np.array([rates[(24 * day + np.arange(24)) % WEEK_HOURS].sum() for day in range(days)])
    excess = float(((seen - mean) ** 2 - mean).sum())
    square = float((mean**2).sum())
    return float(np.clip(square / excess, 1.0, 1000.0)) if excess > 0 and log(square) else 1000.0
