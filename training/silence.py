"""How many images a station is expected to send, and when its silence is an alarm.

Standard library alone: the process that watches is small. Hours are counted from 1970 in UTC; an
hour of the week is one of 168 on the clock of the hospital, so that summer time moves nothing.
Only time in which the service was there to receive is counted, in the history as in a gap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from math import exp, lgamma, log, log1p

from training.errors import TooFewCases

HOUR = 3600.0
WEEK_HOURS = 168
MIN_WEEKS = 2
PSEUDO_WEEKS = 0.5
"""Added to what was watched, with no image: few weeks are believed less than they show."""

YEARS = 10

SHORTEST = 5.0
"""Images that are expected in a gap before it can be an alarm."""


@dataclass(frozen=True, slots=True)
class Volume:
    """Expected images per hour of the week.

    rates: (168), from Monday's midnight. size: of the negative binomial distribution of a day's
    images, whose variance is mean + mean^2 / size; a holiday is no Poisson fluctuation.
    """

    zone: tzinfo
    rates: tuple[float, ...]
    size: float

    @property
    def per_year(self) -> float:
        """Images."""
        return sum(self.rates) * 52.18

    def expected(
        self, start: float, end: float, watched: Mapping[int, float] | None = None
    ) -> float:
        """Images between two times, UNIX seconds.

        watched: hour to the seconds of it that count; none: all of it counts.
        """
        total, at = 0.0, start
        while at < end:
            hour = int(at // HOUR)
            upto = min(end, (hour + 1) * HOUR)
            share = 1.0 if watched is None else min(1.0, watched.get(hour, 0.0) / HOUR)
            total += share * (upto - at) / HOUR * self.rates[slot(hour, self.zone)]
            at = upto
        return total

    def chance_of_at_most(self, images: int, mean: float) -> float:
        """Probability of so few images where so many are expected, were all well."""
        if mean <= 0:
            return 1.0
        none = -self.size * log1p(mean / self.size)  # log of the chance of no image
        step = log(mean / (self.size + mean))
        return min(
            1.0,
            sum(
                exp(none + count * step + lgamma(self.size + count)
                    - lgamma(self.size) - lgamma(count + 1.0))
                for count in range(images + 1)
            ),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Silence:
    """A station's gap. chance: of a gap so long, were all well; alarm: by the rule."""

    expected: float
    chance: float
    alarm: bool


def volume(counts: Mapping[int, int], watched: Mapping[int, float], zone: tzinfo) -> Volume:
    """From a station's images by hour, and the seconds of each hour that were watched.

    Raises:
        TooFewCases: less than two weeks were watched, or no image came in them.
    """
    shares = {hour: min(1.0, seconds / HOUR) for hour, seconds in watched.items() if seconds > 0}
    weeks = sum(shares.values()) / WEEK_HOURS
    images = sum(count for hour, count in counts.items() if hour in shares)
    if weeks < MIN_WEEKS or not images:
        raise TooFewCases(
            f"An expected volume needs {MIN_WEEKS} weeks with images. Received: {weeks:.1f} weeks, "
            f"{images} images."
        )
    seen, covered = [0.0] * WEEK_HOURS, [0.0] * WEEK_HOURS
    for hour, share in shares.items():
        place = slot(hour, zone)
        covered[place] += share
        seen[place] += counts.get(hour, 0)
    rates = [came / (there + PSEUDO_WEEKS) for came, there in zip(seen, covered, strict=True)]
    return Volume(zone, tuple(rates), _size(counts, shares, rates, zone))


def silence(
    history: Volume, last: float, now: float, watched: Mapping[int, float] | None = None
) -> Silence:
    """Whether nothing since `last` is an alarm.

    It is where so long a gap is expected less than once in `YEARS`: each image begins a gap. What
    is expected is itself an estimate, so that real false alarms come more often than that.
    """
    expected = history.expected(last, now, watched)
    chance = history.chance_of_at_most(0, expected)
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


@lru_cache(maxsize=4096)
def slot(hour: int, zone: tzinfo) -> int:
    """Return the hour of the week, from Monday's midnight on the clock of the zone."""
    local = datetime.fromtimestamp(hour * HOUR, zone)
    return 24 * local.weekday() + local.hour


def _size(
    counts: Mapping[int, int], shares: Mapping[int, float], rates: Sequence[float], zone: tzinfo
) -> float:
    """By moments over days, each against its own mean; at most 1000, which is Poisson."""
    seen: dict[int, float] = {}
    mean: dict[int, float] = {}
    for hour, share in shares.items():
        day = hour // 24
        seen[day] = seen.get(day, 0.0) + counts.get(hour, 0)
        mean[day] = mean.get(day, 0.0) + share * rates[slot(hour, zone)]
    excess = sum((seen[day] - mean[day]) ** 2 - mean[day] for day in mean)
    square = sum(one**2 for one in mean.values())
    return min(1000.0, max(1.0, square / excess)) if excess > 0 else 1000.0
