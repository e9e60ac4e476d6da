"""The statements of the queue, within the transaction of whoever calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, insert, select, update

from storage.database import insert_or
from storage.errors import LostClaim, NotFound, Refused
from storage.records import (
    Arrival,
    Instance,
    InstanceId,
    Job,
    JobId,
    JobRow,
    JobState,
    StudyState,
)
from storage.results import INSTANCE_COLUMNS, AnyRow, cut, to_instance
from storage.schema import instance, job, result, study

WORKER_DIED = "worker_died"
MAX_STUDY_ATTEMPTS = 3

NO_CLAIM: dict[str, Any] = {"owner": None, "lease_until": None}


def insert_instance(
    connection: Connection, arrival: Arrival, *, contested: bool
) -> InstanceId | None:
    """Return None where the UID (or, contested, this UID with these bytes) is here already."""
    new = insert_or(connection, instance).values(
        sop_instance_uid=arrival.sop_instance_uid,
        sop_class_uid=arrival.sop_class_uid,
        transfer_syntax_uid=arrival.transfer_syntax_uid,
        sha256=arrival.sha256,
        size_bytes=arrival.size_bytes,
        calling_ae=arrival.calling_ae,
        called_ae=arrival.called_ae,
        peer_address=arrival.peer_address,
        received_at=arrival.received_at,
        contested=contested,
        repeats=0,
    )
    unless_known = new.on_conflict_do_nothing().returning(instance.c.id)
    return connection.execute(unless_known).scalar_one_or_none()


def insert_job(
    connection: Connection,
    instance_id: InstanceId,
    arrival: Arrival,
    state: JobState,
    reason_code: str | None = None,
) -> None:
    """Give a new instance its job."""
    connection.execute(
        insert(job).values(
            instance_id=instance_id,
            state=state,
            received_at=arrival.received_at,
            not_before=0,
            attempts=0,
            token=0,
            reason_code=reason_code,
            changed_at=arrival.received_at,
        )
    )


def claimable(now: float, *, fresh: bool = False) -> Select[Any]:
    """Select the job to claim, with its instance."""
    query = (
        select(job.c.id, job.c.attempts, job.c.token, job.c.reason, *INSTANCE_COLUMNS)
        .join(instance, job.c.instance_id == instance.c.id)
        .where(job.c.state == JobState.PENDING, job.c.not_before <= now)
    )
    if fresh:
        query = query.where(job.c.attempts == 0)
    return query.order_by(job.c.received_at, job.c.id).limit(1)


def give_up(
    connection: Connection,
    claim: Job,
    now: float,
    *,
    state: JobState,
    reason_code: str | None,
    reason: str | None,
    not_before: float = 0,
    attempts: int | None = None,
) -> None:
    """End a claim. The token is the fence: whoever took over since has a larger one."""
    changed = connection.execute(
        update(job)
        .where(job.c.id == claim.id)
        .where(job.c.token == claim.token, job.c.state == JobState.RUNNING)
        .values(
            state=state,
            not_before=not_before,
            reason_code=reason_code,
            reason=None if reason is None else cut(reason),
            changed_at=now,
            attempts=claim.attempts if attempts is None else attempts,
            **NO_CLAIM,
        )
    )
    if changed.rowcount != 1:
        raise LostClaim(f"Job {claim.id} is no longer held under token {claim.token}.")


def release_claims(
    connection: Connection,
    jobs: ColumnElement[bool],
    studies: ColumnElement[bool],
    now: float,
    because: str,
) -> int:
    """Put back the claims that the two conditions select; return how many.

    `because`: why who held them does so no longer.
    """
    said = {"reason_code": WORKER_DIED, "reason": cut(because)}
    released_jobs = connection.execute(
        update(job)
        .where(job.c.state == JobState.RUNNING, jobs)
        .values(state=JobState.PENDING, not_before=0, changed_at=now, **said, **NO_CLAIM)
    )
    claimed = (study.c.state == StudyState.REPORTING) & studies
    # A study whose report kills every worker must not go round for ever.
    hopeless = connection.execute(
        update(study)
        .where(claimed, study.c.attempts >= MAX_STUDY_ATTEMPTS)
        .values(
            state=StudyState.QUARANTINED,
            reason_code=WORKER_DIED,
            reason="The worker died each time it built the report.",
            **NO_CLAIM,
        )
    )
    released_studies = connection.execute(
        update(study).where(claimed).values(state=StudyState.DUE, **NO_CLAIM)
    )
    return released_jobs.rowcount + hopeless.rowcount + released_studies.rowcount


def jobs_again(connection: Connection, instances: Sequence[InstanceId], now: float) -> None:
    """Withdraw the results of instances, and have each classified again as if it had just come."""
    connection.execute(delete(result).where(result.c.instance_id.in_(instances)))
    connection.execute(
        update(job)
        .where(job.c.instance_id.in_(instances), job.c.state == JobState.DONE)
        .values(state=JobState.PENDING, attempts=0, not_before=0, changed_at=now)
    )


def study_uid(connection: Connection, held: Instance) -> str | None:
    """Return the UID of an instance's study, None while that is unknown."""
    if held.study_id is None:
        return None
    query = select(study.c.study_instance_uid).where(study.c.id == held.study_id)
    return connection.execute(query).scalar_one_or_none()


def hold_by_hand(
    connection: Connection, table: Table, row_id: int, deed: str, allowed: Sequence[str]
) -> None:
    """Lock a job, study or delivery for an administrator, to be retried or quarantined.

    Raises NotFound, and Refused where it is in none of the allowed states.
    """
    query = select(table.c.state).where(table.c.id == row_id).with_for_update()
    state = connection.execute(query).scalar_one_or_none()
    if state is None:
        raise NotFound(f"There is no {table.name} {row_id}.")
    if state not in allowed:
        names = " or ".join(allowed)
        raise Refused(
            f"{table.name.capitalize()} {row_id} is {state} and cannot be {deed} by hand; "
            f"only a {names} {table.name} can."
        )


def held_instance(connection: Connection, job_id: JobId) -> Instance:
    """Return the instance of a job."""
    query = select(*INSTANCE_COLUMNS).join(job, job.c.instance_id == instance.c.id)
    return to_instance(connection.execute(query.where(job.c.id == job_id)).one())


def job_rows() -> Select[Any]:
    """Select what `to_job_row` reads."""
    return select(
        job.c.id,
        job.c.state,
        job.c.attempts,
        job.c.reason_code,
        job.c.reason,
        instance.c.sop_instance_uid,
        instance.c.sop_class_uid,
        instance.c.sha256,
        instance.c.calling_ae,
        instance.c.peer_address,
        instance.c.received_at,
    ).join(instance, job.c.instance_id == instance.c.id)


def to_job_row(row: AnyRow) -> JobRow:
    """Read `job_rows`."""
    return JobRow(
        id=JobId(row.id),
        state=row.state,
        attempts=row.attempts,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        sha256=row.sha256,
        calling_ae=row.calling_ae,
        peer_address=row.peer_address,
        received_at=row.received_at,
        reason_code=row.reason_code,
        reason=row.reason,
    )
