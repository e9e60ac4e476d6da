"""The rows of acceptance tests, within the transaction of whoever calls."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from storage.acceptance_records import (
    AcceptanceId,
    AcceptanceState,
    AcceptanceTest,
    Closing,
    NewCase,
    Plan,
    SampleReader,
)
from storage.results import AnyRow
from storage.review_records import ReviewKind, ReviewState
from storage.schema import (
    acceptance_case,
    acceptance_reader,
    acceptance_report,
    acceptance_test,
    review,
    study,
)

IS_READ = (review.c.kind == ReviewKind.FIRST_READ) & (review.c.state == ReviewState.EFFECTIVE)
PLAN = ("name", "finding", "half_width", "sensitivity", "specificity", "seed", "version", "digest",
         "since", "until")  # fmt: skip


def sampled_patients(connection: Connection) -> frozenset[str]:
    """Return the keys of the patients in open tests: nobody learns from them."""
    query = (
        select(acceptance_case.c.patient)
        .join(acceptance_test, acceptance_case.c.test_id == acceptance_test.c.id)
        .where(acceptance_test.c.state == AcceptanceState.OPEN)
    )
    return frozenset(connection.execute(query).scalars())


def sampled_studies() -> Select[Any]:
    """Select the ids of the studies in open tests."""
    return (
        select(acceptance_case.c.study_id)
        .join(acceptance_test, acceptance_case.c.test_id == acceptance_test.c.id)
        .where(acceptance_test.c.state == AcceptanceState.OPEN)
    )


def withheld_cases(account: int) -> Select[Any]:
    """Select the cases of open tests that the account is to read and has not read."""
    read = (
        select(review.c.id)
        .where(
            IS_READ, review.c.account == account, review.c.study_id == acceptance_case.c.study_id
        )
        .exists()
    )
    return (
        select(acceptance_case.c.test_id)
        .select_from(acceptance_reader)
        .join(acceptance_test, acceptance_reader.c.test_id == acceptance_test.c.id)
        .join(acceptance_case, acceptance_case.c.test_id == acceptance_test.c.id)
        .join(study, acceptance_case.c.study_id == study.c.id)
        .where(acceptance_reader.c.account == account)
        .where(acceptance_test.c.state == AcceptanceState.OPEN, ~read)
    )


def reads_in_test(connection: Connection, study_id: int, account: int) -> bool:
    """Whether an open test has the study, and the account among its readers."""
    query = (
        sampled_studies()
        .join(acceptance_reader, acceptance_reader.c.test_id == acceptance_test.c.id)
        .where(acceptance_case.c.study_id == study_id, acceptance_reader.c.account == account)
    )
    return connection.execute(query.limit(1)).first() is not None


def last_words(test: AcceptanceId) -> Select[Any]:
    """Select the ids of the sample's first reads whose readers have not reviewed it since."""
    later = review.alias("later")
    since = (
        select(later.c.id)
        .where(later.c.study_id == review.c.study_id, later.c.account == review.c.account)
        .where(later.c.kind == ReviewKind.REVIEW)
        .where(later.c.state.in_((ReviewState.EFFECTIVE, ReviewState.REPORTED)))
        .exists()
    )
    return select(review.c.id).where(reads_of(test), ~since).order_by(review.c.id)


def reads_of(test: AcceptanceId) -> ColumnElement[bool]:
    """Whether a review is a first read of the sample by one of its readers, made in time."""
    cases = select(acceptance_case.c.study_id).where(acceptance_case.c.test_id == test)
    readers = select(acceptance_reader.c.account).where(acceptance_reader.c.test_id == test)
    closed = select(func.coalesce(acceptance_test.c.closed_at, 1e18)).where(
        acceptance_test.c.id == test
    )
    return (
        IS_READ
        & review.c.study_id.in_(cases)
        & review.c.account.in_(readers)
        & (review.c.effective_at <= closed.scalar_subquery())
    )


def named(connection: Connection, name: str) -> int | None:
    query = select(acceptance_test.c.id).where(acceptance_test.c.name == name)
    return connection.execute(query).scalar_one_or_none()


def case_row(case: NewCase, number: int) -> dict[str, object]:
    return {
        "study_id": case.study_id, "position": number, "patient": case.patient,
        "weight": case.weight, "images": case.images, "groups": json.dumps(dict(case.groups)),
    }  # fmt: skip


def to_test(connection: Connection, row: AnyRow) -> AcceptanceTest:
    of = AcceptanceId(row.id)
    readers = connection.execute(
        select(acceptance_reader)
        .where(acceptance_reader.c.test_id == of)
        .order_by(acceptance_reader.c.login)
    ).all()
    cases = select(func.count()).where(acceptance_case.c.test_id == of)
    read = (
        select(review.c.account, func.count(review.c.study_id.distinct()).label("n"))
        .where(reads_of(of))
        .group_by(review.c.account)
    )
    made = select(acceptance_report.c.made_at).where(acceptance_report.c.test_id == of)
    plan = {name: getattr(row, name) for name in PLAN}
    return AcceptanceTest(
        id=of,
        plan=Plan(**plan, thresholds=json.loads(row.thresholds), counts=json.loads(row.counts)),
        state=row.state,
        actor=row.actor,
        drawn_at=row.drawn_at,
        readers=tuple(SampleReader(one.account, one.login, one.name) for one in readers),
        cases=connection.execute(cases).scalar_one(),
        closing=None
        if row.closed_at is None
        else Closing(row.closed_by, row.close_reason, row.closed_at),
        reported_at=connection.execute(made).scalar_one_or_none(),
        read={one.account: one.n for one in connection.execute(read)},
    )
