"""When a schedule is due: a function of its timing alone, by APScheduler's triggers.

Nothing depends on what a process remembers. A clock that jumps forward makes one run of all that
was passed over; one that goes back makes none twice, for a due time has one run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from daemon.errors import WrongTiming
from storage.schedule_records import Schedule, Timing, Window
from storage.schedules import Due

FIELDS = 5
SHORTEST_S = 60.0
LONGEST_S = 366 * 86400.0
WENT_BACK_S = 3600.0
"""A clock that is behind by more was wrong before: it is believed now."""
GAP_S = 7200.0  # at least the longest that a clock leaves out
MOST_MISSED = 10_000  # counted; a clock that jumps by a hundred years must not keep us busy

_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def read_timing(
    cron: str | None, every: str | None, window: str | None, timezone: str | None, now: float
) -> Timing:
    """Return when something is due. Raises WrongTiming, which says what is allowed.

    cron: "minute hour day month weekday", weekdays by name. every: 90m, 12h, 7d. window:
    22:00-05:00 or nothing. timezone: of the IANA database; nothing for the machine's.
    """
    if (cron is None) == (every is None):
        raise WrongTiming("Either cron or every is needed, and not both.")
    zone = timezone or local_zone()
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WrongTiming(
            f'There is no time zone "{zone}"; allowed are names such as Europe/Berlin.'
        ) from error
    return Timing(
        None if cron is None else _checked_cron(cron, zone, now),
        None if every is None else _seconds(every),
        zone,
        None if not window else read_window(window),
    )


def read_window(text: str) -> Window:
    """Return the window that a text such as 22:00-05:00 means. Raises WrongTiming."""
    found = re.fullmatch(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", text.strip())
    ends = [int(part) for part in found.groups()] if found else []
    if not ends or max(ends[0], ends[2]) > 23 or max(ends[1], ends[3]) > 59:
        raise WrongTiming(f"A window is two times of day, as 22:00-05:00. Received: {text!r}.")
    start, end = ends[0] * 60 + ends[1], ends[2] * 60 + ends[3]
    if start == end:
        raise WrongTiming("A window that ends where it begins is none: leave it out.")
    return Window(start, end)


def due(schedule: Schedule, now: float) -> tuple[float, Due | None]:
    """Return until when the schedule has been seen then, and what came due since it was last."""
    since = schedule.seen_until
    if now < since:
        return (now if since - now > WENT_BACK_S else since), None
    last, count = None, 0
    for at in _fires(schedule, since):
        if at > now:
            break
        last, count = at, count + 1
        if count > MOST_MISSED:
            break
    return now, None if last is None else Due(last, count - 1)


def next_due(schedule: Schedule, now: float) -> float | None:
    """Return the next due time after now, as pages show it."""
    return next(_fires(schedule, now), None)


def is_open(timing: Timing | None, now: float) -> bool:
    """Whether a run may start now: within its window, on the clock of its time zone."""
    if timing is None or timing.window is None:
        return True
    local = datetime.fromtimestamp(now, ZoneInfo(timing.timezone))
    minute = local.hour * 60 + local.minute
    start, end = timing.window.start, timing.window.end
    if start < end:
        return start <= minute < end
    return minute >= start or minute < end


def local_zone() -> str:
    """Return the machine's time zone."""
    from tzlocal import get_localzone_name

    return get_localzone_name() or "UTC"


def _trigger(schedule: Schedule) -> BaseTrigger:
    timing, zone = schedule.timing, ZoneInfo(schedule.timing.timezone)
    if timing.cron is not None:
        return CronTrigger.from_crontab(timing.cron, timezone=zone)
    # In UTC: twelve hours are twelve hours across the change to summer time
    every_s = timing.every_s or LONGEST_S
    first = datetime.fromtimestamp(schedule.created_at + every_s, UTC)
    return IntervalTrigger(seconds=every_s, start_date=first, timezone=UTC)


def _fires(schedule: Schedule, after: float) -> Iterator[float]:
    """Yield the due times after that one. What the clock shows twice counts once."""
    trigger = _trigger(schedule)
    zone = UTC if schedule.timing.cron is None else ZoneInfo(schedule.timing.timezone)
    # What the clock leaves out in spring comes due an hour later by it: seen from before the gap
    at = after - GAP_S
    while True:
        found = trigger.get_next_fire_time(None, datetime.fromtimestamp(at + 0.001, zone))
        if found is None:
            return
        at = found.timestamp()
        if at > after and not found.fold:
            yield at


def _checked_cron(cron: str, zone: str, now: float) -> str:
    parts = cron.split()
    if len(parts) != FIELDS:
        raise WrongTiming(
            "cron has five fields: minute hour day month weekday, as 30 2 * * sat. "
            f"Received: {cron!r}."
        )
    if re.search(r"\d", parts[-1]):
        # 0 is Sunday to some programs and Monday to others
        raise WrongTiming(f"A weekday is named: mon, tue, ... sun. Received: {parts[-1]!r}.")
    try:
        trigger = CronTrigger.from_crontab(" ".join(parts), timezone=ZoneInfo(zone))
    except ValueError as error:
        raise WrongTiming(f"cron: {error}. Received: {cron!r}.") from error
    if trigger.get_next_fire_time(None, datetime.fromtimestamp(now, ZoneInfo(zone))) is None:
        raise WrongTiming(f"This never comes due. Received: {cron!r}.")
    return " ".join(parts)


def _seconds(every: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhd])", every.strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise WrongTiming(
            "An interval is minutes, hours or days, as 90m, 12h or 7d, from 1m to 366d. "
            f"Received: {every!r}."
        )
    return seconds
