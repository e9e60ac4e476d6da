"""Which images two readers have both judged, and what they said."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, func, select

from storage.review_records import ReviewKind, ReviewState
from storage.schema import review, review_answer

_STANDS = (ReviewState.EFFECTIVE, ReviewState.REPORTED)


def double_reads(since: float, until: float, kind: ReviewKind | None) -> Select[Any]:
    """Select a row for each finding and pair of readers, of what both have judged."""
    last = func.row_number().over(
        partition_by=[review_answer.c.instance_id, review_answer.c.finding, review.c.account],
        order_by=[review.c.effective_at.desc(), review.c.id.desc()],
    )
    words = (
        select(
            review_answer.c.instance_id,
            review_answer.c.finding,
            review_answer.c.present,
            review.c.account,
            review.c.login,
            last.label("place"),
        )
        .join(review, review_answer.c.review_id == review.c.id)
        .where(review.c.state.in_(_STANDS))
        .where(review.c.effective_at >= since, review.c.effective_at < until)
    )
    if kind is not None:
        words = words.where(review.c.kind == kind)
    said = words.cte("said")
    one, two = said.alias("one"), said.alias("two")

    def times(first: bool, second: bool) -> Any:
        both = (one.c.present == first) & (two.c.present == second)
        return func.count().filter(both)

    return (
        select(
            one.c.finding,
            func.max(one.c.login).label("first"),
            func.max(two.c.login).label("second"),
            times(True, True).label("both_present"),
            times(True, False).label("first_only"),
            times(False, True).label("second_only"),
            times(False, False).label("both_absent"),
        )
        .join(
            two,
            (one.c.instance_id == two.c.instance_id)
            & (one.c.finding == two.c.finding)
            & (one.c.account < two.c.account),
        )
        .where(one.c.place == 1, two.c.place == 1)
        .where(one.c.present.is_not(None), two.c.present.is_not(None))
        .group_by(one.c.finding, one.c.account, two.c.account)
        .order_by(one.c.finding, one.c.account, two.c.account)
    )
