"""The answers of a review: what each comes to, within the transaction of whoever calls."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, insert, select

from storage.errors import ReviewRefused
from storage.records import InstanceId, StudyId
from storage.review_records import (
    CodedFinding,
    NewAnswer,
    NewReview,
    ReviewId,
    ReviewKind,
    ReviewState,
    Verdict,
)
from storage.schema import finding, instance, result, review, review_answer

# What may be said when the computer's result has been seen, and what before.
ALLOWED = {
    ReviewKind.REVIEW: {Verdict.AGREE, Verdict.DISAGREE, Verdict.UNSURE, Verdict.ADDED},
    ReviewKind.FIRST_READ: {Verdict.PRESENT, Verdict.ABSENT, Verdict.UNSURE, Verdict.ADDED},
}

_Key = tuple[InstanceId, str]
_Known = dict[_Key, tuple[CodedFinding, bool]]


def put_answers(
    connection: Connection, review_id: ReviewId, study_id: StudyId, new: NewReview
) -> None:
    """Store the answers. Raises ReviewRefused, which names the answer and what is allowed."""
    if not new.answers:
        return
    images = _images(connection, study_id)
    known = _said_by_readers(connection, study_id) | _said_by_computer(connection, study_id)
    vocabulary = {coded.name: coded for coded, _ in known.values()}
    rows: dict[_Key, dict[str, object]] = {}
    for given in new.answers:
        instance_id = images.get(given.sop_instance_uid)
        if instance_id is None:
            raise ReviewRefused(f"Image {given.sop_instance_uid} is not in this study's report.")
        key = (instance_id, given.finding)
        if key in rows:
            raise ReviewRefused(f"{_shown(given)} is answered twice.")
        named = given if given.coded else replace(given, coded=vocabulary.get(given.finding))
        coded, present = _meaning(named, new.kind, known.get(key))
        rows[key] = {
            "review_id": review_id,
            "position": len(rows),
            "instance_id": instance_id,
            "finding": given.finding,
            "code_value": coded.code_value,
            "code_scheme": coded.code_scheme,
            "code_meaning": coded.code_meaning,
            "verdict": given.verdict,
            "present": present,
        }
    connection.execute(insert(review_answer), list(rows.values()))


def _meaning(
    given: NewAnswer, kind: ReviewKind, known: tuple[CodedFinding, bool] | None
) -> tuple[CodedFinding, bool | None]:
    """Return the finding and whether the reader has it present, None where unsure."""
    if given.verdict not in ALLOWED[kind]:
        allowed = ", ".join(sorted(ALLOWED[kind]))
        raise ReviewRefused(f"{_shown(given)}: in a {kind.value} the answers are {allowed}.")
    coded = known[0] if known is not None else given.coded
    if coded is None:
        raise ReviewRefused(f"{_shown(given)} is no finding that can be named of it.")
    if given.verdict is Verdict.UNSURE:
        return coded, None
    if given.verdict in {Verdict.AGREE, Verdict.DISAGREE}:
        if known is None:
            raise ReviewRefused(f"{_shown(given)} has not been reported: it can be added only.")
        return coded, known[1] == (given.verdict is Verdict.AGREE)
    return coded, given.verdict is not Verdict.ABSENT


def _shown(given: NewAnswer) -> str:
    return f"{given.finding[:64]} of image {given.sop_instance_uid}"


def _images(connection: Connection, study_id: StudyId) -> dict[str, InstanceId]:
    """The images that have a result, by their UID."""
    query = (
        select(instance.c.id, instance.c.sop_instance_uid)
        .join(result, result.c.instance_id == instance.c.id)
        .where(instance.c.study_id == study_id)
        .order_by(instance.c.contested.desc())  # the first to come under a UID counts
    )
    return {row.sop_instance_uid: InstanceId(row.id) for row in connection.execute(query)}


def _said_by_computer(connection: Connection, study_id: StudyId) -> _Known:
    query = (
        select(finding, instance.c.id.label("instance_id"))
        .join(result, finding.c.result_id == result.c.id)
        .join(instance, result.c.instance_id == instance.c.id)
        .where(instance.c.study_id == study_id)
    )
    return {
        (InstanceId(row.instance_id), row.name): (
            CodedFinding(row.name, row.code_value, row.code_scheme, row.code_meaning),
            row.present,
        )
        for row in connection.execute(query)
    }


def _said_by_readers(connection: Connection, study_id: StudyId) -> _Known:
    """What readers have added: the next one agrees or disagrees with its presence."""
    query = (
        select(review_answer)
        .join(review, review_answer.c.review_id == review.c.id)
        .where(review.c.study_id == study_id, review.c.kind == ReviewKind.REVIEW)
        .where(review.c.state.in_([ReviewState.EFFECTIVE, ReviewState.REPORTED]))
        .where(review_answer.c.verdict == Verdict.ADDED)
    )
    return {
        (InstanceId(row.instance_id), row.finding): (
            CodedFinding(row.finding, row.code_value, row.code_scheme, row.code_meaning),
            True,
        )
        for row in connection.execute(query)
    }
