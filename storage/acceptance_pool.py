"""The studies that an acceptance test may be drawn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from storage.acceptance_records import Candidate, Decision, Excluded, Pool, SampleReader
from storage.acceptance_rows import sampled_studies
from storage.database import Database
from storage.headers import HeaderState
from storage.holdout import patient_key
from storage.people import Action
from storage.records import ResultStatus, StudyId, StudyState
from storage.results import AnyRow
from storage.review_records import ReviewState
from storage.schema import (
    audit,
    finding,
    holdout_patient,
    image_header,
    instance,
    result,
    review,
    study,
    study_header,
)


def pool(
    database: Database,
    since: float,
    until: float,
    readers: Sequence[SampleReader],
    version: str,
    thresholds: Mapping[str, float],
) -> Pool:
    """Return the reported studies that came in that time and that a test may be drawn from.

    version, thresholds: of the bundle to be tested; its findings are those of the thresholds.
    """
    within = (
        (study.c.state == StudyState.REPORTED)
        & (study_header.c.header == HeaderState.READ)
        & study_header.c.first_received_at.between(since, until)
    )
    with database.read() as connection:
        rows = connection.execute(
            select(study_header, study.c.study_instance_uid)
            .join(study, study_header.c.study_id == study.c.id)
            .where(within)
            .order_by(study_header.c.study_id)
        ).all()
        images = _images(connection, within)
        found = _largest(connection, within, thresholds)
        seen, seen_uids = _seen(connection, readers)
        learnt = set(connection.execute(_learnt()).scalars())
        sampled = set(connection.execute(sampled_studies()).scalars())
    counts = dict.fromkeys(("other_bundle", "seen", "removed", "learnt", "sampled"), 0)
    candidates: list[Candidate] = []
    for row in rows:
        of, key = images.get(row.study_id, []), _patient(row)
        if not of or any(one.bundle != version for one in of):
            counts["other_bundle"] += 1
        elif row.study_id in sampled:
            counts["sampled"] += 1
        elif row.study_id in seen or row.study_instance_uid in seen_uids:
            counts["seen"] += 1
        elif any(one.removal is not None for one in of):
            counts["removed"] += 1
        elif key in learnt:
            counts["learnt"] += 1
        else:
            candidates.append(_candidate(row, key, of, found.get(row.study_id, {})))
    return Pool(tuple(candidates), Excluded(**counts))


def _images(connection: Connection, within: ColumnElement[bool]) -> dict[int, list[AnyRow]]:
    """The analysed images of each study."""
    query = (
        select(instance.c.study_id, instance.c.removal, result.c.bundle,
               func.coalesce(image_header.c.view_position, "").label("view"))
        .join(result, result.c.instance_id == instance.c.id)
        .join(study, instance.c.study_id == study.c.id)
        .join(study_header, study_header.c.study_id == study.c.id)
        .outerjoin(image_header, image_header.c.instance_id == instance.c.id)
        .where(within, result.c.status == ResultStatus.ANALYSED)
        .order_by(instance.c.id)
    )  # fmt: skip
    images: dict[int, list[AnyRow]] = {}
    for row in connection.execute(query):
        images.setdefault(row.study_id, []).append(row)
    return images


def _largest(
    connection: Connection, within: ColumnElement[bool], thresholds: Mapping[str, float]
) -> dict[int, dict[str, Decision]]:
    query = (
        select(instance.c.study_id, finding.c.name, func.max(finding.c.probability).label("most"))
        .join(result, finding.c.result_id == result.c.id)
        .join(instance, result.c.instance_id == instance.c.id)
        .join(study, instance.c.study_id == study.c.id)
        .join(study_header, study_header.c.study_id == study.c.id)
        .where(within, result.c.status == ResultStatus.ANALYSED)
        .where(finding.c.name.in_(list(thresholds)))
        .group_by(instance.c.study_id, finding.c.name)
    )
    found: dict[int, dict[str, Decision]] = {}
    for row in connection.execute(query):
        present = row.most >= thresholds[row.name]
        found.setdefault(row.study_id, {})[row.name] = Decision(row.most, present)
    return found


def _seen(connection: Connection, readers: Sequence[SampleReader]) -> tuple[set[int], set[str]]:
    """Ids of the studies that a reader has judged, and UIDs of those that one has opened."""
    judged = select(review.c.study_id).where(
        review.c.account.in_([one.account for one in readers]),
        review.c.state != ReviewState.UNDONE,
    )
    opened = select(audit.c.subject).where(
        audit.c.actor.in_([one.login for one in readers]), audit.c.action == Action.STUDY_READ
    )
    return (
        set(connection.execute(judged.distinct()).scalars()),
        set(connection.execute(opened.distinct()).scalars()),
    )


def _learnt() -> Any:
    return select(holdout_patient.c.patient).where(holdout_patient.c.trained_at.is_not(None))


def _patient(row: AnyRow) -> str:
    return patient_key(row.patient_id, row.issuer, row.study_instance_uid)


def _candidate(
    row: AnyRow, key: str, images: Sequence[AnyRow], decisions: Mapping[str, Decision]
) -> Candidate:
    return Candidate(
        study_id=StudyId(row.study_id),
        patient=key,
        images=len(images),
        decisions=decisions,
        view=images[0].view,
        sex=row.patient_sex,
        age=row.patient_age,
        birth_date=row.birth_date,
        study_date=row.study_date,
        station=row.station,
    )
