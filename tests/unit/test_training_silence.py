"""Silence is an alarm when it is, and a night or a quiet hour is not."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from training.errors import TooFewCases
from training.silence import HOUR, WEEK_HOURS, alarm_after, silence, volume

START = 1_800_000_000.0 - 1_800_000_000.0 % (24 * HOUR)
WEEK = WEEK_HOURS * HOUR


def hours(busy: float = 8.0, night: float = 0.2) -> np.ndarray:
    """Expected images per hour of a week: busy from 8 to 18 on five days."""
    hour = np.arange(WEEK_HOURS)
    return np.where((hour % 24 >= 8) & (hour % 24 < 18) & (hour < 120), busy, night)


def arrivals(weeks: int, random: np.random.Generator, spread: float = 0.0) -> list[float]:
    """Arrival times; `spread` is the relative deviation of a day's volume."""
    times: list[float] = []
    for day in range(7 * weeks):
        factor = random.gamma(1 / spread**2, spread**2) if spread else 1.0
        for hour in range(24):
            count = random.poisson(factor * hours()[(24 * day + hour) % WEEK_HOURS])
            begin = START + (24 * day + hour) * HOUR
            times += (begin + random.random(count) * HOUR).tolist()
    return sorted(times)


def test_the_expected_volume_follows_the_week() -> None:
    found = volume(arrivals(12, np.random.default_rng(0)), START, START + 12 * WEEK)
    monday = START + 12 * WEEK
    assert found.expected(monday + 8 * HOUR, monday + 18 * HOUR) == pytest.approx(80, rel=0.1)
    assert found.expected(monday, monday + 6 * HOUR) < 5
    assert found.expected(monday, monday + WEEK) == pytest.approx(hours().sum(), rel=0.05)
    assert found.expected(monday + 8.5 * HOUR, monday + 9 * HOUR) == pytest.approx(
        found.expected(monday + 8 * HOUR, monday + 9 * HOUR) / 2
    )


def test_silence_in_the_day_is_an_alarm_within_hours_and_a_night_is_none() -> None:
    found = volume(arrivals(8, np.random.default_rng(1)), START, START + 8 * WEEK)
    monday = START + 8 * WEEK
    at = alarm_after(found, monday + 9 * HOUR)
    assert at is not None
    assert monday + 10 * HOUR < at < monday + 13 * HOUR
    assert not silence(found, monday + 18 * HOUR, monday + 31 * HOUR).alarm
    friday = monday + (4 * 24 + 18) * HOUR
    assert not silence(found, friday, friday + 20 * HOUR).alarm


@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_false_alarms_of_silence_are_at_most_one_in_a_year(spread: float) -> None:
    random = np.random.default_rng(2)
    found = volume(arrivals(10, random, spread), START, START + 10 * WEEK)
    year = arrivals(52, random, spread)
    gaps = pairwise(year)
    alarms = sum(silence(found, last, following).alarm for last, following in gaps)
    assert alarms <= 1


def test_days_that_vary_make_the_rule_more_patient() -> None:
    steady = volume(arrivals(20, np.random.default_rng(3)), START, START + 20 * WEEK)
    varied = volume(arrivals(20, np.random.default_rng(3), 0.5), START, START + 20 * WEEK)
    assert varied.size < 15 < steady.size
    monday = START + 20 * WEEK
    assert varied.chance_of_at_most(10, monday + 8 * HOUR, monday + 12 * HOUR) > (
        steady.chance_of_at_most(10, monday + 8 * HOUR, monday + 12 * HOUR)
    )


def test_a_station_that_sends_next_to_nothing_never_alarms_soon() -> None:
    times = [START + day * 24 * HOUR for day in range(0, 28, 7)]
    found = volume(times, START, START + 4 * WEEK)
    assert alarm_after(found, START + 4 * WEEK) is None


@pytest.mark.parametrize(("times", "weeks"), [([], 8.0), ([START + 5.0], 1.5)])
def test_no_history_is_no_expectation(times: list[float], weeks: float) -> None:
    with pytest.raises(TooFewCases, match="needs 2 weeks with images"):
        volume(times, START, START + weeks * WEEK)
