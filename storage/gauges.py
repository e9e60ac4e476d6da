"""How things stand at this moment, for metrics: each figure by an index, whatever was done before.

What is finished is not counted: it grows without end, and `storage.sums` has it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from storage.database import Database
from storage.records import DeliveryState, JobState, StudyState
from storage.schema import (
    alarm,
    delivery,
    host,
    job,
    model,
    promotion,
    report,
    run,
    station_watch,
    study,
    worker,
)

JOBS = (JobState.PENDING, JobState.RUNNING, JobState.QUARANTINED)
STUDIES = (StudyState.DUE, StudyState.REPORTING, StudyState.QUARANTINED)
DELIVERIES = (DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.COMMITTING,
              DeliveryState.DEAD)  # fmt: skip
_WAITING = (DeliveryState.PENDING, DeliveryState.SENDING)


@dataclass(frozen=True, slots=True)
class Drift:
    """A station's charts: images seen, its highest sum, and how many measures have left."""

    station: str
    images: int
    highest: float  # standard deviations
    left: int


@dataclass(frozen=True, slots=True)
class Gauges:
    """Everything that goes up and down. Times are UNIX seconds, None where there is none."""

    jobs: Mapping[JobState, int]
    oldest_image_at: float | None  # that waits or is in work
    studies: Mapping[StudyState, int]
    deliveries: Mapping[tuple[str, DeliveryState], int]  # by PACS
    oldest_report_at: Mapping[str, float]  # by PACS: when the one that waits longest was made
    alarms: Mapping[tuple[str, str], int]  # by kind and state
    serving: tuple[str, str] | None  # version and digest
    workers: tuple[tuple[str, str, str], ...]  # owner, bundle's version, engine
    runs: Mapping[tuple[str, str], int]  # by kind and state
    run_ended_at: Mapping[tuple[str, str], float]  # the last, by kind and state
    hosts: tuple[tuple[str, float], ...]  # name, and when it last said that it lives
    drift: tuple[Drift, ...]  # of the bundle that serves


def look(database: Database) -> Gauges:
    """Read them all in one state of the database. Raises StorageError."""
    with database.read() as connection:
        serving = connection.execute(
            select(model.c.version, model.c.digest)
            .join(promotion, promotion.c.model_id == model.c.id)
            .order_by(promotion.c.id.desc())
            .limit(1)
        ).first()
        oldest = [
            at
            for state in (JobState.PENDING, JobState.RUNNING)
            if (at := connection.execute(
                select(func.min(job.c.received_at)).where(job.c.state == state)
            ).scalar_one()) is not None
        ]  # fmt: skip
        workers = select(worker.c.owner, worker.c.version, worker.c.engine)
        return Gauges(
            jobs={state: _count(connection, job.c.state == state) for state in JOBS},
            oldest_image_at=min(oldest, default=None),
            studies={state: _count(connection, study.c.state == state) for state in STUDIES},
            deliveries=_deliveries(connection),
            oldest_report_at=_oldest_reports(connection),
            alarms=_alarms(connection),
            serving=None if serving is None else (serving.version, serving.digest),
            workers=tuple((one.owner, one.version, one.engine)
                          for one in connection.execute(workers)),
            runs=_runs(connection),
            run_ended_at=_run_ends(connection),
            hosts=tuple((one.name, one.seen_at) for one in connection.execute(select(host))),
            drift=() if serving is None else _drift(connection, serving.digest),
        )  # fmt: skip


def _count(connection: Connection, where: object) -> int:
    query = select(func.count()).where(where)  # type: ignore[arg-type]
    found: int = connection.execute(query).scalar_one()
    return found


def _deliveries(connection: Connection) -> dict[tuple[str, DeliveryState], int]:
    columns = (delivery.c.pacs, delivery.c.state)
    found = connection.execute(
        select(*columns, func.count()).where(delivery.c.state.in_(DELIVERIES)).group_by(*columns)
    )
    return {(pacs, DeliveryState(state)): count for pacs, state, count in found}


def _oldest_reports(connection: Connection) -> dict[str, float]:
    first = (
        select(delivery.c.pacs, func.min(delivery.c.id).label("id"))
        .where(delivery.c.state.in_(_WAITING))
        .group_by(delivery.c.pacs)
        .subquery()
    )
    query = (
        select(first.c.pacs, report.c.created_at)
        .join(delivery, delivery.c.id == first.c.id)
        .join(report, report.c.id == delivery.c.report_id)
    )
    return {row.pacs: row.created_at for row in connection.execute(query)}


def _alarms(connection: Connection) -> dict[tuple[str, str], int]:
    columns = (alarm.c.kind, alarm.c.state)
    found = connection.execute(
        select(*columns, func.count()).where(alarm.c.closed_at.is_(None)).group_by(*columns)
    )
    return {(kind, str(state)): count for kind, state, count in found}


def _runs(connection: Connection) -> dict[tuple[str, str], int]:
    open_ = ("waiting", "running")
    columns = (run.c.kind, run.c.state)
    found = connection.execute(
        select(*columns, func.count()).where(run.c.state.in_(open_)).group_by(*columns)
    )
    return {(str(kind), str(state)): count for kind, state, count in found}


def _run_ends(connection: Connection) -> dict[tuple[str, str], float]:
    columns = (run.c.kind, run.c.state)
    found = connection.execute(
        select(*columns, func.max(run.c.ended_at))
        .where(run.c.ended_at.is_not(None))
        .group_by(*columns)
    )
    return {(str(kind), str(state)): at for kind, state, at in found}


def _drift(connection: Connection, digest: str) -> tuple[Drift, ...]:
    columns = (station_watch.c.station, station_watch.c.images, station_watch.c.charts,
               station_watch.c.left)  # fmt: skip
    rows = connection.execute(select(*columns).where(station_watch.c.digest == digest))
    return tuple(
        Drift(
            row.station,
            row.images,
            max((max(both) for both in json.loads(row.charts).get("sums", {}).values()), default=0),
            len(json.loads(row.left)),
        )
        for row in rows
    )
