"""What SQLite does for each statement: an index search, never a scan or a sort.

The statements are those that the code sends, caught on their way, and planned again on a
database of thousands of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import String, event, insert, update
from sqlalchemy.dialects import postgresql

from storage.commitments import Commitments
from storage.database import Database, unheld
from storage.jobs import claimable
from storage.readings import whereabouts
from storage.records import DeliveryState, JobState, StudyId, StudyState
from storage.retention import Retention
from storage.reviews import Reviews
from storage.schema import delivery, instance, job, report, study
from tests.storing import Storage, analysed, arrival, new_report, open_storage

pytestmark = pytest.mark.sqlite

ROWS = 2000
CLAIM = {"attempts": 0, "token": 0}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Thousands of rows, half of them still to do; the job received first has all before it."""
    storage = open_storage(tmp_path_factory.mktemp("plans"))
    names = ("sop_class_uid", "transfer_syntax_uid", "sha256", "calling_ae", "called_ae")
    same = {name: getattr(arrival("1"), name) for name in names} | {"peer_address": "10.0.0.5"}
    numbers = range(1, ROWS + 1)
    late = 1e6  # when the open jobs were received: they hold no study up
    with storage.database.write() as connection:
        connection.execute(
            insert(study).values(revision=1, report_version=1, **CLAIM),
            [
                {"id": n, "study_instance_uid": f"9.{n}", "due_at": n, "last_received_at": n}
                | {"state": StudyState.DUE if n % 2 else StudyState.REPORTED}
                for n in numbers
            ],
        )
        connection.execute(
            insert(instance).values(size_bytes=9, contested=False, repeats=0, **same),
            [
                {"id": n, "sop_instance_uid": f"1.{n}", "received_at": late + n}
                | {"study_id": None if n % 2 else n}
                for n in numbers
            ],
        )
        connection.execute(
            insert(job).values(not_before=0, changed_at=0, **CLAIM),
            [
                {"id": n, "instance_id": n, "received_at": late + n}
                | {"state": JobState.PENDING if n % 2 else JobState.DONE}
                for n in numbers
            ],
        )
        connection.execute(
            insert(report).values(version=1, revision=0, sop_class_uid="1", size_bytes=9),
            [
                {"id": n, "study_id": n, "sop_instance_uid": f"7.{n}", "created_at": n}
                | {"sha256": "0"}
                for n in numbers
            ],
        )
        connection.execute(
            insert(delivery).values(pacs="a", next_attempt_at=0, **CLAIM),
            [
                {"id": n, "report_id": n}
                | {"state": DeliveryState.PENDING if n % 2 else DeliveryState.STORED}
                for n in numbers
            ],
        )
    return storage


@contextmanager
def caught(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Catch every statement with its parameters, transactions' own apart."""
    statements: list[tuple[str, Any]] = []

    def catch(_c: Any, _cursor: Any, sql: str, parameters: Any, _x: Any, many: bool) -> None:
        if sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}:
            statements.append((sql, parameters[0] if many else parameters))

    with database.read() as connection:
        engine = connection.engine
    event.listen(engine, "before_cursor_execute", catch)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", catch)


def plans(storage: Storage, act: Callable[[], object]) -> list[list[str]]:
    """Do it, and return the plan of each of its statements."""
    with caught(storage.database) as statements:
        act()
    assert statements
    with storage.database.read() as connection:
        return [
            [
                row.detail
                for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)
            ]
            for sql, parameters in statements
        ]


def assert_indexed(found: list[list[str]]) -> None:
    for plan in found:
        for step in plan:
            assert not step.startswith("SCAN") or step == "SCAN CONSTANT ROW", found
            assert "TEMP B-TREE" not in step, found


def test_the_claim_stays_on_its_index(storage: Storage) -> None:
    found = plans(storage, lambda: storage.queue.claim("w1", 60, 2e6))
    assert len(found) == 3
    assert_indexed(found)
    for plan in found[:2]:
        assert plan[0].startswith("SEARCH job USING INDEX ix_job_claim (state=?)")


def test_a_fresh_claim_stays_on_its_index_as_well(storage: Storage) -> None:
    found = plans(storage, lambda: storage.queue.claim("w1", 60, 2e6, fresh=True))
    assert_indexed(found)
    for plan in found[:2]:
        assert plan[0].startswith("SEARCH job USING INDEX ix_job_claim (state=?)")


def test_a_queue_of_waiting_retries_is_passed_over_within_the_index(storage: Storage) -> None:
    (looked,) = plans(storage, lambda: storage.queue.claim("w1", 60, -1))
    assert looked[0].startswith("SEARCH job USING INDEX ix_job_claim (state=?)")


def test_accept_is_four_statements_two_of_them_for_the_audit_trail(storage: Storage) -> None:
    with caught(storage.database) as statements:
        storage.queue.accept(arrival("5.1", received_at=3e6))
    assert [sql.split()[0] for sql, _ in statements] == ["INSERT", "INSERT", "SELECT", "INSERT"]


def test_a_repeated_image_is_found_by_index(storage: Storage) -> None:
    storage.queue.accept(arrival("5.2", received_at=3e6))
    found = plans(storage, lambda: storage.queue.accept(arrival("5.2", received_at=3e6)))
    assert_indexed(found)
    repeated = found[-3][0]  # before the two of the audit trail
    assert "uq_instance_" in repeated or "sqlite_autoindex_instance" in repeated


def test_finish_is_eleven_statements_by_key(storage: Storage) -> None:
    claimed = storage.queue.claim("w1", 60, 2e6)
    assert claimed is not None
    found = plans(storage, lambda: storage.queue.finish(claimed, analysed(), "9.5", 0, 2e6))
    assert len(found) == 11  # of them four for the list, and two for the audit trail
    assert_indexed(found)


def test_the_study_due_first_is_found_by_index(storage: Storage) -> None:
    found = plans(storage, lambda: storage.studies.claim_due("w1", 60, 2e6))
    assert len(found) == 6
    assert_indexed(found[:3])  # the rest sort the few results of one study
    for plan in found[:2]:
        assert plan[0].startswith(
            "SEARCH study USING INDEX ix_study_state_due_at (state=? AND due_at<?)"
        )
        assert sum("ix_job_claim (state=?)" in step for step in plan) == 2


def test_the_results_of_a_study_are_found_by_index(storage: Storage) -> None:
    for plan in plans(storage, lambda: storage.studies.show("9.7")):
        assert not any(step.startswith("SCAN") for step in plan), plan


def test_a_report_is_stored_by_key(storage: Storage) -> None:
    due = storage.studies.claim_due("w1", 60, 2e6)
    assert due is not None
    made = new_report("7.0")
    found = plans(storage, lambda: storage.studies.reported(due, made, ["a", "b"], 2e6))
    assert len(found) == 6
    assert_indexed(found)


def test_deliveries_are_claimed_by_index(storage: Storage) -> None:
    found = plans(storage, lambda: storage.outbox.claim("a", 10, "d1", 60, 2e6))
    assert len(found) == 3
    assert_indexed(found)
    for plan in found[:2]:
        used = "ix_delivery_claim (state=? AND pacs=? AND next_attempt_at<?)"
        assert plan[0].startswith(f"SEARCH delivery USING INDEX {used}")


def test_commitments_are_asked_for_and_reported_by_index(storage: Storage) -> None:
    commitments = Commitments(storage.database)
    with storage.database.write() as connection:
        stored = update(delivery).where(delivery.c.state == DeliveryState.STORED)
        connection.execute(
            stored.values(
                state=DeliveryState.COMMITTING, sent_uid="7." + delivery.c.id.cast(String)
            )
        )
    found = plans(storage, lambda: commitments.ask("a", "5.1", 10, 2e6, 1e6))
    assert len(found) == 4
    assert_indexed(found)
    found = plans(storage, lambda: commitments.report("5.1", ["7.2"], {"7.4": "0112H"}, 1e6, 1e6))
    assert_indexed(found)
    commitments.waive("a")


def test_what_may_be_deleted_is_found_by_index(storage: Storage) -> None:
    found = plans(storage, lambda: Retention(storage.database).begin(2e6, 10))
    for plan in found:
        scans = [step for step in plan if step.startswith("SCAN")]
        assert set(scans) <= {"SCAN CONSTANT ROW", "SCAN (subquery-1)"}, plan  # the list of ids
    used = "ix_instance_removal_received_at (removal=? AND received_at<?)"
    assert any(used in step for plan in found for step in plan)


@pytest.mark.parametrize("name", ["overdue", "release_expired", "release_all"])
def test_leases_are_looked_up_by_state(storage: Storage, name: str) -> None:
    assert_indexed(plans(storage, lambda: getattr(storage.queue, name)(0)))


def test_on_postgresql_claims_skip_what_another_has_locked() -> None:
    sql = str(unheld(claimable(0), job).compile(dialect=postgresql.dialect()))
    assert sql.endswith("FOR UPDATE OF job SKIP LOCKED")


def test_reviews_that_are_due_are_found_by_index(storage: Storage) -> None:
    found = plans(storage, lambda: Reviews(storage.database).due(1e6))
    assert found == [["SEARCH review USING INDEX ix_review_state_effective_at "
                      "(state=? AND effective_at<?)"]]  # fmt: skip


def test_what_waits_for_a_study_is_found_by_index(storage: Storage) -> None:
    with storage.database.read() as connection:
        assert_indexed(plans(storage, lambda: whereabouts(connection, StudyId(5), 2)))
