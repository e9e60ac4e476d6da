"""Stored reviews read back, and what the next version of a report is to say of them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Exists, select, update

from storage.records import Sha256, StudyId
from storage.results import AnyRow
from storage.review_records import (
    Answer,
    CodedFinding,
    Reader,
    Reading,
    Review,
    ReviewId,
    ReviewKind,
    ReviewState,
)
from storage.schema import delivery, instance, report, review, review_answer, study


def to_reviews(
    connection: Connection, which: ColumnElement[bool], *order: ColumnElement[Any]
) -> tuple[Review, ...]:
    """Return the reviews that `which` selects, with their answers."""
    rows = connection.execute(
        select(review, study.c.study_instance_uid)
        .join(study, review.c.study_id == study.c.id)
        .where(which)
        .order_by(*order)
    ).all()
    answers: dict[int, list[Answer]] = defaultdict(list)
    for row in connection.execute(
        select(review_answer, instance.c.sop_instance_uid)
        .join(instance, review_answer.c.instance_id == instance.c.id)
        .where(review_answer.c.review_id.in_([row.id for row in rows]))
        .order_by(review_answer.c.review_id, review_answer.c.position)
    ):
        coded = CodedFinding(row.finding, row.code_value, row.code_scheme, row.code_meaning)
        answers[row.review_id].append(Answer(row.sop_instance_uid, coded, row.verdict, row.present))
    return tuple(_to_review(row, tuple(answers[row.id])) for row in rows)


def waits(study_id: ColumnElement[int]) -> Exists:
    """Whether a review of the study is in effect that no version says."""
    return (
        select(review.c.id)
        .where(review.c.study_id == study_id, review.c.state == ReviewState.EFFECTIVE)
        .where(review.c.kind == ReviewKind.REVIEW)
        .exists()
    )


def whereabouts(connection: Connection, study_id: StudyId, version: int) -> AnyRow:
    """Return a version's `predecessor_uid`, whether any was `sent`, the id of the review that
    `waits` for one, and whether any was `said`."""
    of_study = review.c.study_id == study_id
    waiting = (
        select(review.c.id)
        .where(of_study, review.c.state == ReviewState.EFFECTIVE)
        .where(review.c.kind == ReviewKind.REVIEW)
        .order_by(review.c.effective_at, review.c.id)
        .limit(1)
        .scalar_subquery()
    )
    said = select(review.c.id).where(of_study, review.c.state == ReviewState.REPORTED).exists()
    earlier = report.alias("earlier")
    sent = (
        select(delivery.c.id)
        .join(earlier, delivery.c.report_id == earlier.c.id)
        .where(earlier.c.study_id == study_id)
        .exists()
    )
    query = select(
        report.c.sop_instance_uid.label("predecessor_uid"),
        sent.label("sent"),
        waiting.label("waits"),
        said.label("said"),
    )
    return connection.execute(
        query.where(report.c.study_id == study_id, report.c.version == version - 1)
    ).one()


def reading_of(connection: Connection, study_id: StudyId, review_id: ReviewId) -> Reading:
    """Return what a version for that review is made of.

    One version for each review, in the order in which they took effect.
    """
    base = connection.execute(
        select(report)
        .where(report.c.study_id == study_id, report.c.review_id.is_(None))
        .order_by(report.c.version.desc())
        .limit(1)
    ).one()
    reviews = to_reviews(
        connection,
        (review.c.study_id == study_id)
        & ((review.c.version > base.version) | (review.c.id == review_id)),
        review.c.effective_at,
        review.c.id,
    )
    return Reading(
        base_uid=base.sop_instance_uid,
        base_sha256=Sha256(base.sha256),
        base_revision=base.revision,
        reviews=reviews,
        verifies=reviews[-1].seen_revision == base.revision,
    )


def mark_said(connection: Connection, reading: Reading, version: int) -> None:
    """Note which version of the report says the review that it was made for."""
    connection.execute(
        update(review)
        .where(review.c.id == reading.last.id, review.c.state == ReviewState.EFFECTIVE)
        .values(state=ReviewState.REPORTED, version=version)
    )


def said_before(connection: Connection, study_id: StudyId) -> tuple[Review, ...]:
    """Return the reviews that versions of the report have said, in that order."""
    of_study = (review.c.study_id == study_id) & (review.c.state == ReviewState.REPORTED)
    return to_reviews(connection, of_study, review.c.version)


def _to_review(row: AnyRow, answers: tuple[Answer, ...]) -> Review:
    return Review(
        id=ReviewId(row.id),
        study_instance_uid=row.study_instance_uid,
        kind=row.kind,
        state=row.state,
        reader=Reader(row.account, row.login, row.person_name, row.organization),
        seen_version=row.seen_version,
        seen_revision=row.seen_revision,
        note=row.note,
        created_at=row.created_at,
        effective_at=row.effective_at,
        undone_at=row.undone_at,
        version=row.version,
        answers=answers,
    )
