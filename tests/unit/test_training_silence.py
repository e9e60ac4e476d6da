"""Silence is an alarm when it is, and a night or a quiet hour is not."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from scipy.stats import nbinom

from training.errors import TooFewCases
from training.silence import HOUR, WEEK_HOURS, Volume, alarm_after, silence, slot, volume

UTC = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
START = 1_799_625_600.0  # a Monday's midnight in UTC: 2027-01-11
WEEK = WEEK_HOURS * HOUR


def hours(busy: float = 8.0, night: float = 0.2) -> np.ndarray:
    """Expected images per hour of a week: busy from 8 to 18 on five days."""
    hour = np.arange(WEEK_HOURS)
    return np.where((hour % 24 >= 8) & (hour % 24 < 18) & (hour < 120), busy, night)


def arrivals(
    weeks: int,
    random: np.random.Generator,
    spread: float = 0.0,
    zone: ZoneInfo = UTC,
    busy: float = 8.0,
) -> list[float]:
    """Arrival times; `spread` is the relative deviation of a day's volume."""
    times: list[float] = []
    expected = hours(busy)
    for day in range(7 * weeks):
        factor = random.gamma(1 / spread**2, spread**2) if spread else 1.0
        for hour in range(24):
            begin = START + (24 * day + hour) * HOUR
            count = random.poisson(factor * expected[slot(int(begin // HOUR), zone)])
            times += (begin + random.random(count) * HOUR).tolist()
    return sorted(times)


def learnt(times: list[float], weeks: float, zone: ZoneInfo = UTC) -> Volume:
    counts = Counter(int(time // HOUR) for time in times)
    first = int(START // HOUR)
    watched = {first + hour: HOUR for hour in range(round(weeks * WEEK_HOURS))}
    return volume(counts, watched, zone)


def test_the_expected_volume_follows_the_week() -> None:
    found = learnt(arrivals(12, np.random.default_rng(0)), 12)
    monday = START + 12 * WEEK
    assert found.expected(monday + 8 * HOUR, monday + 18 * HOUR) == pytest.approx(80, rel=0.1)
    assert found.expected(monday, monday + 6 * HOUR) < 5
    assert found.expected(monday, monday + WEEK) == pytest.approx(hours().sum(), rel=0.05)
    assert found.expected(monday + 8.5 * HOUR, monday + 9 * HOUR) == pytest.approx(
        found.expected(monday + 8 * HOUR, monday + 9 * HOUR) / 2
    )


def test_silence_in_the_day_is_an_alarm_within_hours_and_a_night_is_none() -> None:
    found = learnt(arrivals(8, np.random.default_rng(1)), 8)
    monday = START + 8 * WEEK
    at = alarm_after(found, monday + 9 * HOUR)
    assert at is not None
    assert monday + 10 * HOUR < at < monday + 13 * HOUR
    assert not silence(found, monday + 18 * HOUR, monday + 31 * HOUR).alarm
    friday = monday + (4 * 24 + 18) * HOUR
    assert not silence(found, friday, friday + 20 * HOUR).alarm


def test_what_nobody_was_there_to_receive_is_no_silence() -> None:
    found = learnt(arrivals(8, np.random.default_rng(1)), 8)
    start = START + 8 * WEEK + 9 * HOUR
    there = {int(start // HOUR) + hour: HOUR for hour in range(8)}
    assert silence(found, start, start + 6 * HOUR, there).alarm
    down = {hour: seconds for hour, seconds in there.items() if hour > min(there) + 4}
    assert not silence(found, start, start + 6 * HOUR, down).alarm


@pytest.mark.parametrize("zone", [UTC, BERLIN])
@pytest.mark.parametrize("spread", [0.0, 0.4])
def test_false_alarms_of_silence_are_at_most_one_in_a_year(
    spread: float, zone: ZoneInfo, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two busy stations over a year of weekends, nights and, in Berlin, summer time.

    What is expected is learnt anew each week from the twelve before, as the service does.
    """
    random = np.random.default_rng(2)
    alarms = gaps = 0
    for busy in (4.0, 16.0):
        times = arrivals(10 + 52, random, spread, zone, busy)
        counts = Counter(int(time // HOUR) for time in times)
        for week in range(10, 62):
            now = START + week * WEEK
            from_hour = int((now - min(12, week) * WEEK) // HOUR)
            watched = dict.fromkeys(range(from_hour, int(now // HOUR)), HOUR)
            found = volume(counts, watched, zone)
            this = [time for time in times if now <= time < now + WEEK]
            gaps += len(this)
            alarms += sum(silence(found, last, after).alarm for last, after in pairwise(this))
    with capsys.disabled():
        print(f"\n{zone.key}, days vary by {spread:.0%}: {alarms} false alarms in 2 station years, "
              f"{gaps} gaps")  # fmt: skip
    assert alarms <= 2


def test_days_that_vary_make_the_rule_more_patient() -> None:
    steady = learnt(arrivals(20, np.random.default_rng(3)), 20)
    varied = learnt(arrivals(20, np.random.default_rng(3), 0.5), 20)
    assert varied.size < 15 < steady.size
    monday = START + 20 * WEEK
    mean = varied.expected(monday + 8 * HOUR, monday + 12 * HOUR)
    assert varied.chance_of_at_most(10, mean) > steady.chance_of_at_most(10, mean)


@pytest.mark.parametrize(("images", "mean", "size"), [(0, 5.0, 3.0), (7, 12.0, 1000.0)])
def test_the_distribution_is_scipys(images: int, mean: float, size: float) -> None:
    found = Volume(UTC, (1.0,) * WEEK_HOURS, size)
    assert found.chance_of_at_most(images, mean) == pytest.approx(
        nbinom.cdf(images, size, size / (size + mean))
    )


def test_a_station_that_sends_next_to_nothing_never_alarms_soon() -> None:
    times = [START + day * 24 * HOUR for day in range(0, 28, 7)]
    assert alarm_after(learnt(times, 4), START + 4 * WEEK) is None


@pytest.mark.parametrize(("times", "weeks"), [([], 8.0), ([START + 5.0], 1.5)])
def test_no_history_is_no_expectation(times: list[float], weeks: float) -> None:
    with pytest.raises(TooFewCases, match="needs 2 weeks with images"):
        learnt(times, weeks)
