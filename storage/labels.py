"""Labels: each reader's last word on each finding in each image."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from storage.database import insert_or
from storage.review_records import ReviewId
from storage.schema import label, review, review_answer


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
