"""The audit trail: appended to, never changed, and a change shows."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from storage.audit import Audit, AuditQuery
from storage.errors import StorageError
from storage.people import Action
from tests import databases
from tests.storing import open_storage

_GUARDS = ["audit_no_update", "audit_no_delete"]


def trail(folder: Path, rows: int = 5) -> Audit:
    audit = Audit(open_storage(folder).database)
    for number in range(rows):
        audit.append("ann", Action.STUDY_READ, f"1.2.{number}", {"n": number}, at=100.5 + number)
    return audit


def tamper(folder: Path, statement: str) -> None:
    """Change the trail as somebody would who may change the database itself."""
    names = ["audit_append_only ON audit"] if databases.POSTGRESQL else _GUARDS
    engine = create_engine(databases.url(folder / "hilum.db"))
    with engine.begin() as connection:
        for name in names:
            connection.execute(text(f"DROP TRIGGER {name}"))
        assert connection.execute(text(statement)).rowcount > 0
    engine.dispose()


def test_a_sound_chain_is_verified(tmp_path: Path) -> None:
    audit = trail(tmp_path)
    newest = audit.search(AuditQuery(), 1)[0]
    found = audit.verify()
    assert (found.rows, found.head, found.broken) == (5, newest.sha256, None)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'bob' WHERE id = 3",
        "UPDATE audit SET at = at + 0.001 WHERE id = 3",
        "UPDATE audit SET detail = '{}' WHERE id = 3",
        "UPDATE audit SET subject = '1.2.9' WHERE id = 3",
        "UPDATE audit SET sha256 = replace(sha256, substr(sha256, 1, 1), 'x') WHERE id = 3",
        "DELETE FROM audit WHERE id = 3",
    ],
)
def test_the_first_row_that_is_not_what_it_was_is_named(tmp_path: Path, statement: str) -> None:
    audit = trail(tmp_path)
    tamper(tmp_path, statement)
    found = audit.verify()
    assert (found.rows, found.broken) == (2, 3)


def test_a_row_put_in_between_shows(tmp_path: Path) -> None:
    audit = trail(tmp_path)
    tamper(
        tmp_path,
        "INSERT INTO audit SELECT 6, at, actor, action, subject, detail, sha256 FROM audit"
        " WHERE id = 5",
    )
    assert audit.verify().broken == 6


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'bob'", "DELETE FROM audit"])
def test_the_database_refuses_to_change_the_trail(tmp_path: Path, statement: str) -> None:
    audit = trail(tmp_path)
    with (
        pytest.raises(StorageError, match="append-only"),
        open_storage(tmp_path).database.write() as connection,
    ):
        connection.exec_driver_sql(statement)
    assert audit.verify().broken is None


def test_a_row_is_a_part_of_the_transaction_around_it(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    audit = Audit(storage.database)

    def fail() -> None:
        with storage.database.write():
            audit.append("ann", Action.JOB_RETRIED, "7", at=1)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert audit.search(AuditQuery(), 10) == ()


def test_rows_that_are_written_at_once_make_one_chain(tmp_path: Path) -> None:
    audit = trail(tmp_path, 0)

    def write(name: str) -> None:
        for number in range(20):
            audit.append(name, Action.STUDY_READ, str(number), at=number)

    threads = [threading.Thread(target=write, args=(f"p{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (audit.verify().rows, audit.verify().broken) == (80, None)


def test_rows_are_found_by_time_actor_action_and_subject_and_paged(tmp_path: Path) -> None:
    audit = trail(tmp_path)
    audit.append("bob", Action.SIGNED_IN, at=200)

    def ids(query: AuditQuery, before: int | None = None) -> list[int]:
        return [row.id for row in audit.search(query, 2, before)]

    assert ids(AuditQuery(actor="ann")) == [5, 4]
    assert ids(AuditQuery(actor="ann"), before=4) == [3, 2]
    assert ids(AuditQuery(action=Action.SIGNED_IN)) == [6]
    assert ids(AuditQuery(subject="1.2.0")) == [1]
    assert ids(AuditQuery(since=101, until=103)) == [3, 2]


def test_a_study_that_is_read_on_within_a_minute_is_one_reading(tmp_path: Path) -> None:
    audit = trail(tmp_path, 0)
    assert audit.study_read("ann", "1.2", 100)
    assert not audit.study_read("ann", "1.2", 159)
    assert audit.study_read("bob", "1.2", 159)
    assert audit.study_read("ann", "1.2", 161)
    assert audit.study_read("ann", "1.3", 161)
    assert [row.actor for row in audit.search(AuditQuery(subject="1.2"), 9)] == [
        "ann", "bob", "ann",
    ]  # fmt: skip
