"""What comes in and what becomes of it, counted for who runs the service. No patient data."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, case, func, select

from storage.database import Database
from storage.records import DeliveryState, JobState, ResultStatus, StudyState
from storage.schema import delivery, instance, job, result, study

MINUTE_S, HOUR_S = 60.0, 3600.0
RATE_OVER_S = 5 * MINUTE_S
UNDECODABLE = "undecodable"  # the reason code of an image whose file or pixels cannot be read


@dataclass(frozen=True, slots=True)
class Traffic:
    """The queue at one moment. `oldest_waiting_at` is when the image longest in it came."""

    jobs: dict[JobState, int]
    studies: dict[StudyState, int]
    received_hour: int
    answered_hour: int
    received_per_minute: float  # over the last five minutes
    answered_per_minute: float
    oldest_waiting_at: float | None


@dataclass(frozen=True, slots=True)
class Caller:
    """A modality or PACS that has sent to us: by the AE title it gave and its address."""

    ae_title: str
    address: str
    images: int  # within the time asked for
    quarantined: int
    not_analysed: int
    last_at: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """How one PACS takes what we send."""

    pacs: str
    states: dict[DeliveryState, int]
    last_success_at: float | None
    oldest_waiting_at: float | None  # when the object that waits longest was due first
    last_error: str | None  # of what waits now


def traffic(database: Database, now: float) -> Traffic:
    """Count the queue."""
    with database.read() as connection:
        jobs: dict[JobState, int] = dict(
            connection.execute(select(job.c.state, func.count()).group_by(job.c.state)).all()
        )
        studies: dict[StudyState, int] = dict(
            connection.execute(select(study.c.state, func.count()).group_by(study.c.state)).all()
        )
        oldest = connection.execute(
            select(func.min(job.c.received_at)).where(
                job.c.state.in_([JobState.PENDING, JobState.RUNNING])
            )
        ).scalar_one()
        return Traffic(
            {state: jobs.get(state, 0) for state in JobState},
            {state: studies.get(state, 0) for state in StudyState},
            _received(connection, now - HOUR_S),
            _answered(connection, now - HOUR_S),
            _received(connection, now - RATE_OVER_S) * MINUTE_S / RATE_OVER_S,
            _answered(connection, now - RATE_OVER_S) * MINUTE_S / RATE_OVER_S,
            oldest,
        )


def callers(database: Database, since: float) -> list[Caller]:
    """Return who has sent since then, the latest first."""
    bad = func.sum(case((job.c.state == JobState.QUARANTINED, 1), else_=0))
    missed = func.sum(case((result.c.status == ResultStatus.NOT_ANALYSED, 1), else_=0))
    last = func.max(instance.c.received_at)
    query = (
        select(instance.c.calling_ae, instance.c.peer_address, func.count(), bad, missed, last)
        .outerjoin(job, job.c.instance_id == instance.c.id)
        .outerjoin(result, result.c.instance_id == instance.c.id)
        .where(instance.c.received_at >= since)
        .group_by(instance.c.calling_ae, instance.c.peer_address)
        .order_by(last.desc())
    )
    with database.read() as connection:
        return [
            Caller(ae, address, count, quarantined or 0, not_analysed or 0, at)
            for ae, address, count, quarantined, not_analysed, at in connection.execute(query)
        ]


def undecodable(database: Database, since: float) -> tuple[int, str]:
    """Return how many images came damaged since then, and who sent the latest: TITLE@address."""
    query = (
        select(instance.c.calling_ae, instance.c.peer_address)
        .join(result, result.c.instance_id == instance.c.id)
        .where(instance.c.received_at >= since, result.c.reason_code == UNDECODABLE)
        .order_by(instance.c.received_at.desc())
    )
    with database.read() as connection:
        found = connection.execute(query).all()
    return len(found), f"{found[0][0]}@{found[0][1]}" if found else ""


def backlog(database: Database) -> list[Backlog]:
    """Return what stands in the outbox for each PACS that anything was ever sent to."""
    waiting = [DeliveryState.PENDING, DeliveryState.SENDING]
    counted: dict[str, dict[DeliveryState, int]] = {}
    with database.read() as connection:
        by_state = select(delivery.c.pacs, delivery.c.state, func.count()).group_by(
            delivery.c.pacs, delivery.c.state
        )
        for pacs, state, count in connection.execute(by_state):
            counted.setdefault(pacs, {})[state] = count
        found = []
        for pacs, states in sorted(counted.items()):
            # Among the newest, for a PACS takes what it is sent in about that order
            newest = (
                select(delivery.c.stored_at)
                .where(delivery.c.pacs == pacs, delivery.c.stored_at.is_not(None))
                .order_by(delivery.c.id.desc())
                .limit(100)
                .subquery()
            )
            last = select(func.max(newest.c.stored_at))
            open_now = (
                select(delivery.c.last_error, delivery.c.next_attempt_at)
                .where(delivery.c.pacs == pacs, delivery.c.state.in_(waiting))
                .order_by(delivery.c.id)
                .limit(1)
            )
            first = connection.execute(open_now).first()
            found.append(
                Backlog(
                    pacs,
                    {state: states.get(state, 0) for state in DeliveryState},
                    connection.execute(last).scalar_one(),
                    first.next_attempt_at if first else None,
                    first.last_error if first else None,
                )
            )
    return found


def _received(connection: Connection, since: float) -> int:
    """Of what retention has deleted none is so young."""
    recent = [instance.c.removal.is_(None), instance.c.received_at >= since]  # as the index has it
    query = select(func.count()).select_from(instance).where(*recent)
    return connection.execute(query).scalar_one()


def _answered(connection: Connection, since: float) -> int:
    query = select(func.count()).select_from(result).where(result.c.created_at >= since)
    return connection.execute(query).scalar_one()
