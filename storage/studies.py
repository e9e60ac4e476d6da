"""Studies: when a report is due, and that each is made once.

`storage.records.StudyState` draws the states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Update, case, func, insert, select, update

from storage.companions import enqueue
from storage.database import Database, unheld
from storage.errors import LostClaim, NotFound
from storage.jobs import MAX_STUDY_ATTEMPTS, NO_CLAIM, hold_by_hand, jobs_again
from storage.listing import list_study, of_canary, put_own
from storage.readings import mark_said, reading_of, said_before, waits, whereabouts
from storage.records import (
    AnsweredInstance,
    InstanceId,
    JobState,
    NewReport,
    ReportId,
    Sha256,
    StudyId,
    StudyJob,
    StudyRow,
    StudyState,
    Token,
)
from storage.results import AnyRow, answered, cut
from storage.review_records import Review, ReviewId
from storage.schema import instance, job, report, study
from storage.trail import Trail

_NEVER = 1e18  # later than any time


class Studies:
    """The studies and their reports. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._trail = Trail(database)

    def claim_due(self, owner: str, lease_s: float, now: float) -> StudyJob | None:
        """Take a study that has been quiet long enough, with every result it has.

        A study waits while an instance that arrived before its quiet time ended is
        unclassified and may be, or is, part of it. A review goes first: it is said of the
        results that its reader saw.
        """
        with self._database.read() as connection:
            if connection.execute(_claimable(now)).first() is None:
                return None
        with self._database.write() as connection:
            row = connection.execute(unheld(_claimable(now), study)).first()
            if row is None:
                return None
            claim = StudyJob(
                id=StudyId(row.id),
                study_instance_uid=row.study_instance_uid,
                version=row.report_version + 1,
                predecessor_uid=None,
                token=Token(row.token + 1),
                instances=(),
                canary=row.canary,
            )
            if claim.version > 1:
                claim = _after(connection, claim)
            reading = claim.reading
            connection.execute(
                update(study)
                .where(study.c.id == claim.id)
                .values(
                    state=StudyState.REPORTING,
                    claimed_revision=(
                        study.c.revision if reading is None else reading.base_revision
                    ),
                    attempts=study.c.attempts + 1,
                    token=claim.token,
                    owner=owner,
                    lease_until=now + lease_s,
                )
            )
            if reading is not None:
                return claim
            return replace(claim, instances=answered(connection, instance.c.study_id == row.id))

    def reported(
        self, claim: StudyJob, made: NewReport, pacs: Sequence[str], now: float
    ) -> ReportId:
        """Store the report and one delivery for each PACS. Raises LostClaim.

        A result that came after the claim makes the study due again, and so does a review.
        """
        unchanged = study.c.revision == study.c.claimed_revision
        if claim.version > 1:
            unchanged &= ~waits(study.c.id)
        with self._database.write() as connection:
            if claim.version > 1:  # no review takes effect between the two that follow
                connection.execute(
                    select(study.c.id).where(study.c.id == claim.id).with_for_update()
                )
            if claim.reading is not None:
                mark_said(connection, claim.reading, claim.version)
            revision = connection.execute(
                _held(claim)
                .values(
                    state=case((unchanged, StudyState.REPORTED.value), else_=StudyState.DUE.value),
                    attempts=0,
                    report_version=claim.version,
                    reported_at=now,
                    reason_code=None,
                    reason=None,
                    **NO_CLAIM,
                )
                .returning(study.c.claimed_revision)
            ).scalar_one_or_none()
            if revision is None:
                raise _lost(claim)
            report_id = _insert_report(connection, claim, made, revision, pacs, now)
            self._trail.reported(claim, made, " ".join(pacs), now)
        return report_id

    def put_back(self, claim: StudyJob, retry_at: float) -> None:
        """Undo a claim for want of space, which is not the study's fault. Raises LostClaim."""
        undone = {"state": StudyState.DUE, "attempts": study.c.attempts - 1, "due_at": retry_at}
        with self._database.write() as connection:
            if connection.execute(_held(claim).values(**undone, **NO_CLAIM)).rowcount != 1:
                raise _lost(claim)

    def failed(
        self, claim: StudyJob, reason_code: str, reason: str, retry_at: float, now: float
    ) -> None:
        """Put the study back until `retry_at`; the third time, quarantine it. Raises LostClaim."""
        hopeless = study.c.attempts >= MAX_STUDY_ATTEMPTS
        state = case((hopeless, StudyState.QUARANTINED.value), else_=StudyState.DUE.value)
        with self._database.write() as connection:
            changed = connection.execute(
                _held(claim).values(
                    state=state,
                    due_at=max(retry_at, now),
                    reason_code=reason_code,
                    reason=cut(reason),
                    **NO_CLAIM,
                )
            )
            if changed.rowcount != 1:
                raise _lost(claim)

    def analyse_again(self, claim: StudyJob, again: Sequence[InstanceId], now: float) -> None:
        """Withdraw these results and put their jobs back; the report waits. Raises LostClaim."""
        with self._database.write() as connection:
            changed = connection.execute(
                _held(claim).values(state=StudyState.DUE, attempts=0, **NO_CLAIM)
            )
            if changed.rowcount != 1:
                raise _lost(claim)
            jobs_again(connection, again, now)
            list_study(connection, claim.id)

    def retry_by_hand(self, study_id: StudyId, now: float) -> None:
        """Give a quarantined study a fresh start, its attempts counted from zero.

        Raises NotFound, and StorageError in any other state.
        """
        with self._database.write() as connection:
            hold_by_hand(connection, study, study_id, "retried", [StudyState.QUARANTINED])
            connection.execute(
                update(study)
                .where(study.c.id == study_id)
                .values(state=StudyState.DUE, due_at=now, attempts=0)
            )

    def open_objects(self) -> list[Sha256]:
        """Return the objects that reports still to be made need."""
        query = (
            select(instance.c.sha256)
            .join(study, instance.c.study_id == study.c.id)
            .where(study.c.state != StudyState.REPORTED, instance.c.removal.is_(None))
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def rows(self, limit: int = 200, state: StudyState | None = None) -> list[StudyRow]:
        """Return the newest studies first, of that state or of all, without their instances."""
        query = select(study).order_by(study.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(study.c.state == state)
        with self._database.read() as connection:
            return [_to_row(row) for row in connection.execute(query)]

    def show(self, study_instance_uid: str) -> StudyRow:
        """Return a study with its instances and their results. Raises NotFound."""
        query = select(study).where(study.c.study_instance_uid == study_instance_uid)
        with self._database.read() as connection:
            row = connection.execute(query).first()
            if row is None:
                raise NotFound(f"There is no study {study_instance_uid}.")
            return _to_row(row, answered(connection, instance.c.study_id == row.id))


def _claimable(now: float) -> Select[Any]:
    """Select the study due first.

    Each of the two bounds on `due_at` is one index search: while anything of unknown study is
    open, no study can be reported whose quiet time ended after that arrived.
    """
    own = (
        select(job.c.id)
        .join(instance, job.c.instance_id == instance.c.id)
        .where(instance.c.study_id == study.c.id)
        .where(job.c.state.in_([JobState.PENDING, JobState.RUNNING]))
        .exists()
    )
    return (
        select(
            study.c.id, study.c.study_instance_uid, study.c.token, study.c.report_version,
            of_canary(study.c.study_instance_uid).label("canary"),
        )
        .where(study.c.state == StudyState.DUE, study.c.due_at <= now)
        .where(study.c.due_at < _oldest_unknown(JobState.PENDING))
        .where(study.c.due_at < _oldest_unknown(JobState.RUNNING))
        .where(~own)
        .order_by(study.c.due_at)
        .limit(1)
    )  # fmt: skip


def _oldest_unknown(state: JobState) -> ColumnElement[float]:
    oldest = (
        select(job.c.received_at)
        .join(instance, job.c.instance_id == instance.c.id)
        .where(job.c.state == state, instance.c.study_id.is_(None))
        .order_by(job.c.received_at)
        .limit(1)
        .scalar_subquery()
    )
    return func.coalesce(oldest, _NEVER)


def _after(connection: Connection, claim: StudyJob) -> StudyJob:
    """Complete a claim on a study that has a report."""
    found = whereabouts(connection, claim.id, claim.version)
    reading, said = None, tuple[Review, ...]()
    if found.waits is not None:
        reading = reading_of(connection, claim.id, ReviewId(found.waits))
    elif found.said:
        said = said_before(connection, claim.id)
    return replace(
        claim,
        predecessor_uid=found.predecessor_uid,
        reading=reading,
        said=said,
        sent=bool(found.sent),
    )


def _held(claim: StudyJob) -> Update:
    return (
        update(study)
        .where(study.c.id == claim.id, study.c.token == claim.token)
        .where(study.c.state == StudyState.REPORTING)
    )


def _insert_report(
    connection: Connection,
    claim: StudyJob,
    made: NewReport,
    revision: int,
    pacs: Sequence[str],
    now: float,
) -> ReportId:
    report_id = connection.execute(
        insert(report)
        .values(
            study_id=claim.id,
            version=claim.version,
            revision=revision,
            review_id=None if claim.reading is None else claim.reading.last.id,
            sop_instance_uid=made.sop_instance_uid,
            sop_class_uid=made.sop_class_uid,
            sha256=made.sha256,
            size_bytes=made.size_bytes,
            created_at=made.created_at,
        )
        .returning(report.c.id)
    ).scalar_one()
    put_own(connection, made.sop_instance_uid, made.header)
    enqueue(connection, ReportId(report_id), made.companions, pacs, now)
    return ReportId(report_id)


def _lost(claim: StudyJob) -> LostClaim:
    return LostClaim(f"Study claim {claim.id} is no longer held under token {claim.token}.")


def _to_row(row: AnyRow, instances: tuple[AnsweredInstance, ...] = ()) -> StudyRow:
    return StudyRow(
        id=StudyId(row.id),
        study_instance_uid=row.study_instance_uid,
        state=row.state,
        due_at=row.due_at,
        report_version=row.report_version,
        reported_at=row.reported_at,
        reason_code=row.reason_code,
        reason=row.reason,
        instances=instances,
    )
