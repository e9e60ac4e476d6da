"""What each station sends in each hour, and how long of it the service was there to receive.

Hours are counted from 1970 in UTC. A station is the name in the header, or the calling AE title
where the header has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from storage.database import Database, insert_or
from storage.records import JobState
from storage.schema import arrival_hour, arrival_watch, instance, job, study_header, watched_hour

HOUR = 3600.0
KEPT_HOURS = 12 * 7 * 24
"""Twelve weeks that were watched; what is older says nothing of today's volume."""

LONGEST_STEP_S = 300.0
"""Between two looks. In a longer one the service was not there, or its clock was moved."""

RECOUNT_S = 12 * HOUR
"""An image that waits longer to be read is not counted; retention deletes none so young."""

_ROW = 1


@dataclass(frozen=True, slots=True)
class Station:
    """What a station has sent within what is kept: images by hour, and when the last came."""

    name: str
    hours: Mapping[int, int]
    last_at: float


@dataclass(frozen=True, slots=True)
class Arrivals:
    """All stations, the seconds of each hour that were watched, and until when all is known."""

    stations: tuple[Station, ...]
    watched: Mapping[int, float]
    known_until: float  # an image that came later may still wait to be read


class ArrivalBook:
    """Counts arrivals from the images' rows; images that nobody has read yet follow later."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def look(self, now: float) -> bool:
        """Count what came since the last look, and the time as watched.

        Return whether this look was the one: of two processes that look at once, one counts.
        """
        with self._database.write() as connection:
            before = connection.execute(select(arrival_watch)).first()
            if before is None:
                connection.execute(
                    insert(arrival_watch).values(id=_ROW, looked_at=now, counted_from=now)
                )
                return True
            taken = connection.execute(
                update(arrival_watch)
                .where(arrival_watch.c.looked_at == before.looked_at)
                .values(looked_at=now)
            )
            if taken.rowcount != 1:
                return False
            if 0 < now - before.looked_at <= LONGEST_STEP_S:
                _note_watched(connection, before.looked_at, now)
            unread = max(_unread(connection, now), now - RECOUNT_S)
            _count(connection, floor_hour(min(before.counted_from, now)))
            connection.execute(update(arrival_watch).values(counted_from=unread))
            if floor_hour(now) != floor_hour(before.looked_at):
                _forget(connection)
        return True

    def read(self, now: float) -> Arrivals:
        """Return what is known now; nothing of a time that has not come yet."""
        this_hour = floor_hour(now)
        with self._database.read() as connection:
            newest = (
                select(watched_hour)
                .where(watched_hour.c.hour <= this_hour)
                .order_by(watched_hour.c.hour.desc())
                .limit(KEPT_HOURS)
            )
            watched = {row.hour: row.seconds for row in connection.execute(newest)}
            since = min(watched, default=this_hour)
            rows = connection.execute(
                select(arrival_hour)
                .where(arrival_hour.c.hour.between(since, this_hour))
                .order_by(arrival_hour.c.hour)
            ).all()
            known_until = _unread(connection, now)
        hours: dict[str, dict[int, int]] = {}
        last: dict[str, float] = {}
        for row in rows:
            hours.setdefault(row.station, {})[row.hour] = row.images
            last[row.station] = min(now, row.last_at)
        stations = tuple(Station(name, hours[name], last[name]) for name in hours)
        return Arrivals(stations, watched, known_until)


def floor_hour(at: float) -> int:
    """Return the hour that a time is in."""
    return int(at // HOUR)


def _unread(connection: Connection, now: float) -> float:
    """When the oldest image came that is not read yet, now where all are."""
    waits = [JobState.PENDING, JobState.RUNNING]
    oldest = now
    for state in waits:
        first = select(func.min(job.c.received_at)).where(job.c.state == state)
        found: float | None = connection.execute(first).scalar_one()
        oldest = oldest if found is None else min(oldest, found)
    return oldest


def _note_watched(connection: Connection, start: float, end: float) -> None:
    at = start
    while at < end:
        hour = floor_hour(at)
        upto = min(end, (hour + 1) * HOUR)
        new = insert_or(connection, watched_hour).values(hour=hour, seconds=upto - at)
        whole = func.coalesce(watched_hour.c.seconds, 0) + (upto - at)
        connection.execute(
            new.on_conflict_do_update(index_elements=["hour"], set_={"seconds": whole})
        )
        at = upto


def _count(connection: Connection, from_hour: int) -> None:
    """Count anew all that came from that hour on: what was counted before is not counted twice."""
    counts: Counter[tuple[str, int]] = Counter()
    last: dict[tuple[str, int], float] = {}
    named = func.coalesce(func.nullif(study_header.c.station, ""), instance.c.calling_ae)
    came = (
        select(named.label("station"), instance.c.received_at)
        .join(study_header, study_header.c.study_id == instance.c.study_id)
        # With both, the rows come from an index
        .where(instance.c.removal.is_(None), instance.c.received_at >= from_hour * HOUR)
    )
    for row in connection.execute(came):
        key = row.station, floor_hour(row.received_at)
        counts[key] += 1
        last[key] = max(last.get(key, 0.0), row.received_at)
    connection.execute(delete(arrival_hour).where(arrival_hour.c.hour >= from_hour))
    if counts:
        connection.execute(
            insert(arrival_hour),
            [
                {"station": station, "hour": hour, "images": images, "last_at": last[station, hour]}
                for (station, hour), images in counts.items()
            ],
        )


def _forget(connection: Connection) -> None:
    """By what was watched and not by the clock: one that is wrong must not cost what was learnt."""
    newest = select(watched_hour.c.hour).order_by(watched_hour.c.hour.desc())
    last = connection.execute(newest.offset(2 * KEPT_HOURS).limit(1)).scalar_one_or_none()
    if last is not None:
        for table in (arrival_hour, watched_hour):
            connection.execute(delete(table).where(table.c.hour <= last))
