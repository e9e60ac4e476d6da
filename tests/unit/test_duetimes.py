"""When schedules come due: summer time, clocks that jump, windows, and what is refused."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from daemon.duetimes import due, is_open, next_due, read_timing
from daemon.errors import WrongTiming
from storage.schedule_records import RunKind, Schedule, ScheduleId
from storage.schedules import Due

BERLIN = ZoneInfo("Europe/Berlin")
DAY_S = 86400.0


def at(text: str, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def schedule(
    seen: float, cron: str | None = None, every: str | None = None, created: float | None = None
) -> Schedule:
    timing = read_timing(cron, every, None, "Europe/Berlin", seen)
    made = seen if created is None else created
    return Schedule(ScheduleId(1), "nightly", RunKind.BACKUP, timing, seen, "ada", made)


def fires(cron: str, start: float, end: float, step: float = 900.0) -> list[float]:
    """Every due time that a process which looks all quarter hours finds."""
    one, found, now = schedule(start, cron), [], start
    while now < end:
        now += step
        seen, due_now = due(one, now)
        one = Schedule(one.id, one.name, one.kind, one.timing, seen, "ada", start)
        if due_now is not None:
            assert due_now.missed == 0
            found.append(due_now.at)
    return found


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_a_night_of_the_change_of_clocks_has_one_run(day: str) -> None:
    """2:30 is left out in March and comes twice in October."""
    start = at(f"{day}T12:00")
    found = fires("30 2 * * *", start, start + 3 * DAY_S)
    assert len(found) == 3
    days = {datetime.fromtimestamp(one, BERLIN).date() for one in found}
    assert len(days) == 3


def test_an_interval_is_as_long_across_the_change_of_clocks() -> None:
    start = at("2026-10-24T12:00")
    one = schedule(start, every="12h")
    assert next_due(one, start) == start + DAY_S / 2
    odd = schedule(start + 0.1234567, every="12h")
    assert next_due(odd, odd.created_at) == pytest.approx(odd.created_at + DAY_S / 2, abs=1e-3)
    assert next_due(one, start + DAY_S / 2) == start + DAY_S


def test_what_was_missed_is_one_run_at_the_last_due_time() -> None:
    start = at("2026-06-01T12:00")
    seen, found = due(schedule(start, "30 2 * * *"), at("2026-06-11T12:00"))
    assert seen == at("2026-06-11T12:00")
    assert found == Due(at("2026-06-11T02:30"), missed=9)


def test_a_clock_that_jumps_far_ahead_keeps_nobody_busy() -> None:
    start = at("2026-06-01T12:00")
    seen, found = due(schedule(start, every="1m"), start + 100 * 366 * DAY_S)
    assert found is not None
    assert seen == start + 100 * 366 * DAY_S


def test_a_clock_set_back_a_little_makes_no_run_and_one_set_back_far_is_believed() -> None:
    start = at("2026-06-02T12:00")
    one = schedule(start, "30 2 * * *")
    assert due(one, start - 600) == (start, None)
    assert due(one, start - 300 * DAY_S) == (start - 300 * DAY_S, None)
    late = Schedule(one.id, one.name, one.kind, one.timing, start - 300 * DAY_S, "ada", start)
    assert due(late, start - 299 * DAY_S)[1] is not None


@pytest.mark.parametrize(
    ("window", "clock", "opened"),
    [
        ("22:00-05:00", "21:59", False), ("22:00-05:00", "22:00", True),
        ("22:00-05:00", "04:59", True), ("22:00-05:00", "05:00", False),
        ("01:00-03:00", "02:00", True), ("01:00-03:00", "03:00", False),
    ],
)  # fmt: skip
def test_a_window_may_cross_midnight(window: str, clock: str, opened: bool) -> None:
    timing = read_timing("0 0 * * *", None, window, "Europe/Berlin", 0)
    assert is_open(timing, at(f"2026-06-01T{clock}")) is opened


def test_without_a_window_a_run_may_start_whenever() -> None:
    assert is_open(None, 0)
    assert is_open(read_timing("0 0 * * *", None, "", None, 0), 0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"cron": "0 0 30 2 *"}, "never comes due"),
        ({"cron": "0 0 * *"}, "five fields"),
        ({"cron": "99 0 * * *"}, "cron:"),
        ({"cron": "0 0 * * 0"}, "weekday is named"),
        ({"every": "5s"}, "90m, 12h or 7d"),
        ({"every": "0m"}, "from 1m"),
        ({}, "Either cron or every"),
        ({"cron": "0 0 * * *", "every": "1h"}, "not both"),
        ({"cron": "0 0 * * *", "window": "25:00-03:00"}, "two times of day"),
        ({"cron": "0 0 * * *", "window": "03:00-03:00"}, "is none"),
        ({"cron": "0 0 * * *", "timezone": "Europe/Nowhere"}, "no time zone"),
        ({"cron": "0 0 * * *", "timezone": "../etc"}, "no time zone"),
    ],
)
def test_what_cannot_be_is_refused_and_says_what_can(wrong: dict[str, str], told: str) -> None:
    values = {"cron": None, "every": None, "window": None, "timezone": None, **wrong}
    with pytest.raises(WrongTiming, match=told):
        read_timing(**values, now=at("2026-06-01T12:00"))
