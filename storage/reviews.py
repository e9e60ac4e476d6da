"""Reviews: stored at once, undone while there is time, then in effect.

`storage.review_records.ReviewState` draws the states.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from storage.acceptance_rows import reads_in_test
from storage.answers import put_answers
from storage.database import Database, unheld
from storage.double_reads import double_reads
from storage.errors import NotFound, ReviewRefused, StaleVersion, TooLate
from storage.labels import label_rows, put_labels, to_label
from storage.listing import mark_review
from storage.readings import to_reviews
from storage.records import StudyId, StudyState
from storage.results import AnyRow
from storage.review_records import (
    DoubleRead,
    Label,
    NewReview,
    Review,
    ReviewId,
    ReviewKind,
    ReviewState,
)
from storage.schema import report, review, study

UNDO_S = 10.0
"""For so long after it was stored, a review can be undone."""


class Reviews:
    """What radiologists said. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def write(self, new: NewReview, now: float) -> Review:
        """Store a review: durable when this returns, in effect `UNDO_S` later.

        An earlier review by the same reader that could still be undone is undone: a button
        pressed twice is one review. A first read is in effect at once, for the computer's result
        is shown from then on; one for an acceptance test makes its labels when that is closed.
        Raises NotFound, StaleVersion, and ReviewRefused.
        """
        with self._database.write() as connection:
            held = _hold_study(connection, new)
            seen_revision = _seen_revision(connection, held.id, new.seen_version)
            first = new.kind is ReviewKind.FIRST_READ
            if first and _has_read(connection, held.id, new.reader.account):
                raise ReviewRefused("Your first read of this study is stored already.")
            _replace_pending(connection, held.id, new.reader.account, now)
            state = ReviewState.EFFECTIVE if first else ReviewState.PENDING
            review_id = connection.execute(
                insert(review)
                .values(
                    study_id=held.id,
                    kind=new.kind,
                    state=state,
                    account=new.reader.account,
                    login=new.reader.login,
                    person_name=new.reader.person_name,
                    organization=new.reader.organization,
                    seen_version=new.seen_version,
                    seen_revision=seen_revision,
                    note=new.note,
                    created_at=now,
                    effective_at=now if first else now + UNDO_S,
                )
                .returning(review.c.id)
            ).scalar_one()
            put_answers(connection, ReviewId(review_id), StudyId(held.id), new)
            if not first:
                _list(connection, StudyId(held.id))
            elif not reads_in_test(connection, held.id, new.reader.account):
                put_labels(connection, ReviewId(review_id))
            return _one(connection, ReviewId(review_id))

    def undo(self, review_id: ReviewId, account: int, now: float) -> Review:
        """Take a review back; its row stays. A second time changes nothing.

        Raises NotFound where the account wrote no such review, and TooLate.
        """
        with self._database.write() as connection:
            query = select(review).where(review.c.id == review_id, review.c.account == account)
            row = connection.execute(query.with_for_update()).first()
            if row is None:
                raise NotFound(f"You have written no review {review_id}.")
            if row.kind == ReviewKind.FIRST_READ:
                raise TooLate("A first read stands: the computer's result has been shown since.")
            if row.state != ReviewState.UNDONE:
                if row.state != ReviewState.PENDING or now >= row.effective_at:
                    raise TooLate
                connection.execute(
                    update(review)
                    .where(review.c.id == review_id)
                    .values(state=ReviewState.UNDONE, undone_at=now)
                )
                _list(connection, StudyId(row.study_id))
            return _one(connection, review_id)

    def of_study(self, study_instance_uid: str) -> tuple[Review, ...]:
        """Return the reviews of a study in the order in which they were written, undone too."""
        query = select(review.c.id).join(study, review.c.study_id == study.c.id)
        with self._database.read() as connection:
            return to_reviews(
                connection,
                review.c.id.in_(query.where(study.c.study_instance_uid == study_instance_uid)),
                review.c.id,
            )

    def show(self, review_id: ReviewId) -> Review | None:
        """Return a review."""
        with self._database.read() as connection:
            found = to_reviews(connection, review.c.id == review_id, review.c.id)
            return found[0] if found else None

    def due(self, now: float) -> list[ReviewId]:
        """Return the reviews whose time to be undone has ended, the longest ago first."""
        with self._database.read() as connection:
            return [ReviewId(one) for one in connection.execute(_due(now)).scalars()]

    def take_effect(self, now: float) -> list[str]:
        """Put in effect whatever is due: labels, and a version to come; return the studies."""
        if not self.due(now):
            return []
        studies = []
        with self._database.write() as connection:
            rows = connection.execute(unheld(_due(now), review))
            for review_id, study_id in rows.all():
                uid = _make_due(connection, StudyId(study_id))
                connection.execute(
                    update(review)
                    .where(review.c.id == review_id)
                    .values(state=ReviewState.EFFECTIVE)
                )
                put_labels(connection, ReviewId(review_id))
                studies.append(uid)
        return studies

    def first_read_done(self, study_instance_uid: str, account: int) -> bool:
        """Whether the account has stored its first read of the study."""
        with self._database.read() as connection:
            query = select(study.c.id).where(study.c.study_instance_uid == study_instance_uid)
            study_id = connection.execute(query).scalar_one_or_none()
            return study_id is not None and _has_read(connection, StudyId(study_id), account)

    def verified(self, study_instance_uid: str) -> Review | None:
        """Return the review that makes the latest version of the report a verified one."""
        latest = (
            select(report.c.review_id, report.c.revision)
            .join(study, report.c.study_id == study.c.id)
            .where(study.c.study_instance_uid == study_instance_uid)
            .where(report.c.version == study.c.report_version)
        ).subquery()
        query = (
            select(review.c.id)
            .join(latest, latest.c.review_id == review.c.id)
            .where(latest.c.revision == review.c.seen_revision)
        )
        with self._database.read() as connection:
            found = connection.execute(query).scalar_one_or_none()
            return None if found is None else _one(connection, ReviewId(found))

    def labels(self, since: float = 0.0, until: float | None = None) -> list[Label]:
        """Return what readers have judged from `since` on and before `until`, the oldest first.

        Of each reader the last word counts; where two readers differ, both rows are there. The
        file of an image may have been removed since.
        """
        with self._database.read() as connection:
            return [to_label(row) for row in connection.execute(label_rows(since, until))]

    def agreement(
        self, since: float, until: float, kind: ReviewKind | None = None
    ) -> list[DoubleRead]:
        """Count what pairs of readers said of the same findings in the same images.

        Of each reader the last word within the time counts, of one kind of reading or of either;
        where one is unsure there is nothing to compare.
        """
        with self._database.read() as connection:
            return [
                DoubleRead(
                    row.finding, row.first, row.second,
                    row.both_present, row.first_only, row.second_only, row.both_absent,
                )
                for row in connection.execute(double_reads(since, until, kind))
            ]  # fmt: skip


def _hold_study(connection: Connection, new: NewReview) -> AnyRow:
    query = select(study.c.id, study.c.report_version).where(
        study.c.study_instance_uid == new.study_instance_uid
    )
    row = connection.execute(query.with_for_update()).first()
    if row is None:
        raise NotFound(f"There is no study {new.study_instance_uid}.")
    if row.report_version == 0:
        raise ReviewRefused("The study has no report yet: it is being made. Try again shortly.")
    if new.seen_version != row.report_version:
        later = (
            select(report.c.version, review.c.login)
            .outerjoin(review, report.c.review_id == review.c.id)
            .where(report.c.study_id == row.id, report.c.version > new.seen_version)
            .order_by(report.c.version)
        )
        since = tuple((one.version, one.login) for one in connection.execute(later))
        raise StaleVersion(new.seen_version, row.report_version, since)
    return row


def _seen_revision(connection: Connection, study_id: int, version: int) -> int:
    query = select(report.c.revision).where(
        report.c.study_id == study_id, report.c.version == version
    )
    return int(connection.execute(query).scalar_one())


def _has_read(connection: Connection, study_id: int, account: int) -> bool:
    query = select(review.c.id).where(
        review.c.study_id == study_id,
        review.c.state == ReviewState.EFFECTIVE,
        review.c.kind == ReviewKind.FIRST_READ,
        review.c.account == account,
    )
    return connection.execute(query.limit(1)).first() is not None


def _replace_pending(connection: Connection, study_id: int, account: int, now: float) -> None:
    connection.execute(
        update(review)
        .where(review.c.study_id == study_id, review.c.account == account)
        .where(review.c.state == ReviewState.PENDING, review.c.effective_at > now)
        .values(state=ReviewState.UNDONE, undone_at=now)
    )


def _list(connection: Connection, study_id: StudyId) -> None:
    """Note in the list who last reviewed every result of the study, if anyone has."""
    query = (
        select(review.c.login, review.c.created_at)
        .join(study, review.c.study_id == study.c.id)
        .where(review.c.study_id == study_id, review.c.kind == ReviewKind.REVIEW)
        .where(review.c.state != ReviewState.UNDONE, review.c.seen_revision == study.c.revision)
        .order_by(review.c.created_at.desc(), review.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    if row is None:
        mark_review(connection, study_id, None, None)
    else:
        mark_review(connection, study_id, row.login, row.created_at)


def _due(now: float) -> Select[Any]:
    return (
        select(review.c.id, review.c.study_id)
        .where(review.c.state == ReviewState.PENDING, review.c.effective_at <= now)
        .order_by(review.c.effective_at, review.c.id)
    )


def _make_due(connection: Connection, study_id: StudyId) -> str:
    """Have a version made at once, or after the report that waits or is being made.

    The study is locked before the review takes effect, as by `Studies.reported`: else that could
    put it at rest without having seen the review.
    """
    query = select(study.c.study_instance_uid, study.c.state).where(study.c.id == study_id)
    row = connection.execute(query.with_for_update()).one()
    if row.state in (StudyState.REPORTED, StudyState.QUARANTINED):
        connection.execute(
            update(study)
            .where(study.c.id == study_id)
            .values(state=StudyState.DUE, due_at=0.0, attempts=0)
        )
    return str(row.study_instance_uid)


def _one(connection: Connection, review_id: ReviewId) -> Review:
    (found,) = to_reviews(connection, review.c.id == review_id, review.c.id)
    return found
