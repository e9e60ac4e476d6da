"""Labels: each reader's last word on each finding in each image."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, delete, select

from storage.database import insert_or
from storage.results import AnyRow
from storage.review_records import Label, ReviewId
from storage.schema import instance, label, review, review_answer, study


def put_labels(connection: Connection, review_id: ReviewId) -> None:
    """Have a review's answers replace what the same reader said before.

    Who is unsure has no word any more.
    """
    query = (
        select(review_answer, review.c.account, review.c.login, review.c.kind)
        .add_columns(review.c.effective_at)
        .join(review, review_answer.c.review_id == review.c.id)
        .where(review.c.id == review_id)
        .order_by(review_answer.c.position)
    )
    for row in connection.execute(query).all():
        if row.present is None:
            connection.execute(
                delete(label)
                .where(label.c.instance_id == row.instance_id, label.c.finding == row.finding)
                .where(label.c.account == row.account)
            )
            continue
        word = {
            "present": row.present,
            "login": row.login,
            "review_id": review_id,
            "source": row.kind.value,
            "labelled_at": row.effective_at,
        }
        new = insert_or(connection, label).values(
            instance_id=row.instance_id, finding=row.finding, account=row.account, **word
        )
        connection.execute(
            new.on_conflict_do_update(
                index_elements=["instance_id", "finding", "account"], set_=word
            )
        )


def label_rows(since: float, until: float | None) -> Select[Any]:
    """Select what `to_label` reads, the oldest first."""
    query = (
        select(label, instance.c.sop_instance_uid, instance.c.sha256, study.c.study_instance_uid)
        .join(instance, label.c.instance_id == instance.c.id)
        .join(study, instance.c.study_id == study.c.id)
        .where(label.c.labelled_at >= since)
        .order_by(label.c.labelled_at, label.c.id)
    )
    return query if until is None else query.where(label.c.labelled_at < until)


def to_label(row: AnyRow) -> Label:
    """Read `label_rows`."""
    return Label(
        instance_id=row.instance_id,
        sop_instance_uid=row.sop_instance_uid,
        sha256=row.sha256,
        study_instance_uid=row.study_instance_uid,
        finding=row.finding,
        present=row.present,
        account=row.account,
        reviewer=row.login,
        labelled_at=row.labelled_at,
        source=row.source,
    )
