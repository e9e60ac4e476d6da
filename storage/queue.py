"""The queue: every instance that was acknowledged, and how far its classification is.

`storage.records.JobState` draws the states.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Column, Connection, Select, delete, func, select, true, union_all, update

from storage.alarm_records import AlarmKind
from storage.alarms import Alarms
from storage.database import Database, unheld
from storage.errors import NotFound
from storage.headers import Headers
from storage.jobs import (
    NO_CLAIM,
    claimable,
    give_up,
    held_instance,
    hold_by_hand,
    insert_instance,
    insert_job,
    job_rows,
    release_claims,
    study_uid,
    to_job_row,
)
from storage.listing import list_study
from storage.records import (
    Acceptance,
    Arrival,
    Counts,
    DeliveryState,
    Job,
    JobDetails,
    JobId,
    JobRow,
    JobState,
    Result,
    ResultStatus,
    Sha256,
    StudyState,
    Token,
)
from storage.results import INSTANCE_COLUMNS, add_result, answered, cut, to_instance
from storage.schema import delivery, instance, job, result, study
from storage.trail import Trail

UID_CONFLICT = "uid_conflict"
QUARANTINED_BY_HAND = "quarantined_by_hand"


class Queue:
    """The instances and their jobs. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._trail = Trail(database)

    def accept(self, arrival: Arrival) -> Acceptance:
        """Make the arrival durable: once this returns, it may be acknowledged.

        The first bytes under a SOP Instance UID get a job. The same bytes again change nothing;
        other bytes are kept and their job is quarantined.
        """
        with self._database.write() as connection:
            outcome = _accept(connection, arrival)
            if outcome is Acceptance.CONFLICT:
                detail = {"from": arrival.calling_ae, "at": arrival.peer_address}
                uid, now = arrival.sop_instance_uid, arrival.received_at
                Alarms(self._database).raise_(AlarmKind.CONFLICT, uid, detail, now)
            self._trail.received(arrival, outcome)
        return outcome

    def claim(self, owner: str, lease_s: float, now: float, *, fresh: bool = False) -> Job | None:
        """Take the job received first among those whose time has come.

        The claim is durable when this returns: an instance that kills its worker is counted.
        `fresh` passes over the jobs that were ever claimed before.
        """
        query = claimable(now, fresh=fresh)
        with self._database.read() as connection:  # an idle worker takes no write lock
            if connection.execute(query).first() is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(unheld(query, job)).first()
            if row is None:
                return None
            attempts, token, lease_until = row.attempts + 1, row.token + 1, now + lease_s
            connection.execute(
                update(job)
                .where(job.c.id == row.id)
                .values(
                    state=JobState.RUNNING,
                    attempts=attempts,
                    token=token,
                    owner=owner,
                    lease_until=lease_until,
                    changed_at=now,
                )
            )
        return Job(JobId(row.id), to_instance(row), attempts, Token(token), lease_until, row.reason)

    def finish(
        self,
        job: Job,
        result: Result,
        study_instance_uid: str,
        quiet_s: float,
        now: float,
        headers: Headers | None = None,
    ) -> None:
        """Store the result and make its study due. Raises LostClaim.

        `headers`: what the image's dataset says, for the pages.
        """
        with self._database.write() as connection:
            give_up(connection, job, now, state=JobState.DONE, reason_code=None, reason=None)
            add_result(connection, job.instance, result, study_instance_uid, quiet_s, now, headers)
            self._trail.answered(job.instance.arrival, result, study_instance_uid, now)

    def ignore(self, job: Job, reason_code: str, reason: str, now: float) -> None:
        """End the job without a result: an object of ours that came back. Raises LostClaim."""
        with self._database.write() as connection:
            give_up(
                connection, job, now, state=JobState.DONE, reason_code=reason_code, reason=reason
            )
            self._trail.given_up(job.instance.arrival, reason_code, now, kept=False)

    def retry(
        self,
        job: Job,
        reason_code: str,
        reason: str,
        not_before: float,
        now: float,
        *,
        counts: bool = True,
    ) -> None:
        """Put the job back until `not_before`; `counts` as an attempt. Raises LostClaim.

        While it waits, no study received later is reported: it may belong to any of them.
        """
        with self._database.write() as connection:
            give_up(
                connection,
                job,
                now,
                state=JobState.PENDING,
                reason_code=reason_code,
                reason=reason,
                not_before=not_before,
                attempts=job.attempts if counts else job.attempts - 1,
            )

    def quarantine(
        self,
        job: Job,
        reason_code: str,
        reason: str,
        now: float,
        study_instance_uid: str | None,
        quiet_s: float,
        headers: Headers | None = None,
    ) -> None:
        """Give the job up; where its study is known, the report will name it. Raises LostClaim."""
        with self._database.write() as connection:
            give_up(
                connection,
                job,
                now,
                state=JobState.QUARANTINED,
                reason_code=reason_code,
                reason=reason,
            )
            uid = study_instance_uid or study_uid(connection, job.instance)
            if uid is not None:
                answer = Result(ResultStatus.NOT_ANALYSED, reason_code=reason_code, reason=reason)
                add_result(connection, job.instance, answer, uid, quiet_s, now, headers)
            self._trail.given_up(job.instance.arrival, reason_code, now, kept=True)

    def release(self, owner: str, now: float, because: str = "it died") -> int:
        """Put back at once what a worker held that has died; return how many claims.

        `because`: why it died, for who reads the quarantine.
        """
        mine = job.c.owner == owner, study.c.owner == owner
        with self._database.write() as connection:
            return release_claims(connection, *mine, now, because)

    def release_expired(self, now: float) -> int:
        """Put back at once every claim whose lease has run out; return how many."""
        with self._database.write() as connection:
            expired = job.c.lease_until <= now, study.c.lease_until <= now
            return release_claims(connection, *expired, now, "its lease ran out")

    def release_all(self, now: float, host: str = "") -> int:
        """Put back at once every claim of a host: nobody there who held one is alive at start.

        `host` ends the names of those who claim there; without one, every claim.
        """
        with self._database.write() as connection:
            jobs = job.c.owner.endswith(host, autoescape=True) if host else true()
            studies = study.c.owner.endswith(host, autoescape=True) if host else true()
            return release_claims(connection, jobs, studies, now, "the service ended")

    def overdue(self, now: float) -> set[str]:
        """Return who holds a claim, on a job or on a study, whose lease has run out."""
        claims = union_all(
            select(job.c.owner).where(job.c.state == JobState.RUNNING, job.c.lease_until <= now),
            select(study.c.owner).where(
                study.c.state == StudyState.REPORTING, study.c.lease_until <= now
            ),
        )
        with self._database.read() as connection:
            return {row.owner for row in connection.execute(claims)}

    def is_longer_than(self, count: int) -> bool:
        """Whether more images than that wait for a worker."""
        query = select(job.c.id).where(job.c.state == JobState.PENDING).offset(count).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def rows(self, states: Collection[JobState] | None = None, limit: int = 200) -> list[JobRow]:
        """Return the newest jobs first, of those states or of all."""
        query = job_rows().order_by(job.c.id.desc()).limit(limit)
        if states is not None:
            query = query.where(job.c.state.in_(states))
        with self._database.read() as connection:
            return [to_job_row(row) for row in connection.execute(query)]

    def show(self, job_id: JobId) -> JobDetails:
        """Return all that is known of one job. Raises NotFound."""
        query = (
            job_rows()
            .outerjoin(study, instance.c.study_id == study.c.id)
            .add_columns(
                *INSTANCE_COLUMNS,
                instance.c.repeats,
                job.c.not_before,
                job.c.owner,
                job.c.lease_until,
                study.c.study_instance_uid,
            )
            .where(job.c.id == job_id)
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
            if row is None:
                raise NotFound(f"There is no job {job_id}.")
            answers = answered(connection, instance.c.id == row.instance_id)
        return JobDetails(
            row=to_job_row(row),
            arrival=to_instance(row).arrival,
            study_instance_uid=row.study_instance_uid,
            repeats=row.repeats,
            not_before=row.not_before,
            owner=row.owner,
            lease_until=row.lease_until,
            result=answers[0].result if answers else None,
        )

    def retry_by_hand(self, job_id: JobId, now: float) -> None:
        """Give a quarantined job a fresh start, its attempts counted from zero.

        A result that its quarantine left is withdrawn; the study is due when the new one is
        there. Raises NotFound, and StorageError in any other state.
        """
        with self._database.write() as connection:
            hold_by_hand(connection, job, job_id, "retried", [JobState.QUARANTINED])
            held = held_instance(connection, job_id)
            connection.execute(delete(result).where(result.c.instance_id == held.id))
            if held.study_id is not None:
                list_study(connection, held.study_id)
            connection.execute(
                update(job)
                .where(job.c.id == job_id)
                .values(
                    state=JobState.PENDING,
                    attempts=0,
                    not_before=0,
                    reason_code=None,
                    reason=None,
                    changed_at=now,
                )
            )

    def quarantine_by_hand(self, job_id: JobId, reason: str, now: float) -> None:
        """Give up a job that waits or runs; a worker that runs it loses its claim.

        Raises NotFound, and StorageError in any other state.
        """
        with self._database.write() as connection:
            allowed = [JobState.PENDING, JobState.RUNNING]
            hold_by_hand(connection, job, job_id, "quarantined", allowed)
            connection.execute(
                update(job)
                .where(job.c.id == job_id)
                .values(
                    state=JobState.QUARANTINED,
                    reason_code=QUARANTINED_BY_HAND,
                    reason=cut(reason),
                    changed_at=now,
                    **NO_CLAIM,
                )
            )
            held = held_instance(connection, job_id)
            uid = study_uid(connection, held)
            if uid is not None:
                answer = Result(
                    ResultStatus.NOT_ANALYSED, reason_code=QUARANTINED_BY_HAND, reason=reason
                )
                add_result(connection, held, answer, uid, 0, now)

    def is_busy(self) -> bool:
        """Return whether an image waits or is worked on."""
        open_now = [JobState.PENDING, JobState.RUNNING]
        query = select(job.c.id).where(job.c.state.in_(open_now)).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def counts(self) -> Counts:
        """Return how many jobs and deliveries stand in each state, zeros too."""
        with self._database.read() as connection:
            jobs: dict[JobState, int] = dict(connection.execute(_by_state(job.c.state)).all())
            sent: dict[DeliveryState, int] = dict(
                connection.execute(_by_state(delivery.c.state)).all()
            )
        return Counts(
            jobs={state: jobs.get(state, 0) for state in JobState},
            deliveries={state: sent.get(state, 0) for state in DeliveryState},
        )

    def open_objects(self) -> list[Sha256]:
        """Return the objects that unfinished jobs need."""
        query = (
            select(instance.c.sha256)
            .join(job, job.c.instance_id == instance.c.id)
            .where(job.c.state != JobState.DONE)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())


def _accept(connection: Connection, arrival: Arrival) -> Acceptance:
    first = insert_instance(connection, arrival, contested=False)
    added = first or insert_instance(connection, arrival, contested=True)
    if added is None:
        connection.execute(
            update(instance)
            .where(instance.c.sop_instance_uid == arrival.sop_instance_uid)
            .where(instance.c.sha256 == arrival.sha256)
            .values(repeats=instance.c.repeats + 1, removal=None)  # the file is back
        )
        return Acceptance.REPEATED
    if first is None:
        insert_job(connection, added, arrival, JobState.QUARANTINED, UID_CONFLICT)
        return Acceptance.CONFLICT
    insert_job(connection, added, arrival, JobState.PENDING)
    return Acceptance.NEW


def _by_state(state: Column[Any]) -> Select[Any, int]:
    return select(state, func.count()).group_by(state)
