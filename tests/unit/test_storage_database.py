"""The database: its journal, its transactions, its lock and its damage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event, func, insert, select

from storage.database import Database, journal_mode, open_database
from storage.errors import AlreadyServing, DatabaseBusy, DatabaseDamaged, StorageError
from storage.root import lock_root
from storage.schema import study
from storage.sqlite import sqlite
from tests.storing import arrival, open_storage

A_STUDY = {
    "state": "due",
    "last_received_at": 0,
    "due_at": 0,
    "revision": 1,
    "attempts": 0,
    "token": 0,
    "report_version": 0,
}


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return open_storage(tmp_path, busy_timeout_s=0.2).database


def studies(database: Database) -> int:
    with database.read() as connection:
        return connection.execute(select(func.count()).select_from(study)).scalar_one()


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        ((3, 40, 1), "TRUNCATE"),
        ((3, 44, 5), "TRUNCATE"),
        ((3, 44, 6), "WAL"),
        ((3, 44, 7), "WAL"),
        ((3, 45, 0), "TRUNCATE"),
        ((3, 50, 6), "TRUNCATE"),
        ((3, 50, 7), "WAL"),
        ((3, 51, 0), "TRUNCATE"),
        ((3, 51, 2), "TRUNCATE"),
        ((3, 51, 3), "WAL"),
        ((3, 52, 0), "WAL"),
        ((4, 0, 0), "WAL"),
    ],
)
def test_the_journal_is_wal_where_sqlite_cannot_corrupt_it(
    version: tuple[int, int, int], mode: str
) -> None:
    assert journal_mode(version) == mode


@pytest.mark.sqlite
@pytest.mark.parametrize(("version", "mode"), [((3, 40, 1), "truncate"), ((3, 51, 3), "wal")])
def test_every_connection_is_durable(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, int, int],
    mode: str,
) -> None:
    monkeypatch.setattr(sqlite, "sqlite_version_info", version)
    database = open_storage(tmp_path).database
    assert database.journal_mode == mode.upper()
    for begin in (database.read, database.write):
        with begin() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            }
        assert pragmas == {
            "journal_mode": mode,
            "synchronous": 2,
            "busy_timeout": 10_000,
            "foreign_keys": 1,
        }
    database.close()


def test_a_write_is_kept_and_an_exception_undoes_all_of_it(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(study).values(study_instance_uid="1.1", **A_STUDY))

    def write_and_fail() -> None:
        with database.write() as connection:
            connection.execute(insert(study).values(study_instance_uid="1.2", **A_STUDY))
            raise KeyError

    with pytest.raises(KeyError):
        write_and_fail()
    assert studies(database) == 1


def test_a_write_within_another_is_a_part_of_it(database: Database) -> None:
    """Queue, studies and outbox each write for themselves; a block around them is one commit."""
    commits: list[None] = []
    with database.read() as connection:
        engine = connection.engine
    event.listen(engine, "commit", lambda _: commits.append(None))

    def write_two(then: Callable[[], None]) -> None:
        with database.write() as connection:
            connection.execute(insert(study).values(study_instance_uid="1.1", **A_STUDY))
            with database.write() as inner:
                inner.execute(insert(study).values(study_instance_uid="1.2", **A_STUDY))
            assert studies(database) == 2  # a read within sees what was written
            then()

    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        write_two(fail)
    assert commits == []
    assert studies(database) == 0
    commits.clear()
    write_two(lambda: None)
    assert len(commits) == 1
    assert studies(database) == 2


def test_a_read_sees_one_state_beside_a_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "sqlite_version_info", (3, 51, 3))
    database = open_storage(tmp_path).database
    with database.read() as reading:
        count = select(func.count()).select_from(study)
        assert reading.execute(count).scalar_one() == 0
        with database.write() as writing:
            writing.execute(insert(study).values(study_instance_uid="1.1", **A_STUDY))
        assert reading.execute(count).scalar_one() == 0
    assert studies(database) == 1


@pytest.mark.sqlite
def test_another_process_that_keeps_the_lock_makes_it_busy(
    database: Database, tmp_path: Path
) -> None:
    other = sqlite.connect(tmp_path / "hilum.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseBusy), database.write():
        pass
    assert studies(database) == 0  # reading goes on
    other.execute("ROLLBACK")
    with database.write():
        pass
    other.close()


@pytest.mark.sqlite
def test_another_thread_that_writes_too_long_makes_it_busy(database: Database) -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write():
            inside.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(5)
    started = time.monotonic()
    with pytest.raises(DatabaseBusy), database.write():
        pass
    assert time.monotonic() - started < 5
    leave.set()
    holder.join()
    with database.write():
        pass


def test_a_broken_rule_is_a_storage_error_that_shows_no_values(database: Database) -> None:
    wrong = A_STUDY | {"state": "due", "token": None}
    with pytest.raises(StorageError) as caught, database.write() as connection:
        connection.execute(insert(study).values(study_instance_uid="1.2.840.99", **wrong))
    assert "token" in str(caught.value)
    assert "1.2.840.99" not in str(caught.value)
    assert "1.2.840.99" not in str(caught.value.__cause__)


def test_a_sound_file_has_no_faults(database: Database) -> None:
    assert database.quick_check() == []


@pytest.mark.sqlite
def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    for number in range(200):
        storage.queue.accept(arrival(f"1.2.{number}"))
    storage.database.close()
    path = tmp_path / "hilum.db"
    content = bytearray(path.read_bytes())
    for page in range(5, len(content) // 4096):
        content[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(content)

    database = open_database(f"sqlite:///{path}")
    assert database.quick_check() != []
    with pytest.raises(DatabaseDamaged):
        open_storage(tmp_path, migrate=False).queue.rows()


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "hilum.db").write_bytes(b"no database, but long enough to look at" * 100)
    database = open_database(f"sqlite:///{tmp_path}/hilum.db")
    assert len(database.quick_check()) == 1
    with pytest.raises(DatabaseDamaged), database.read():
        pass


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/nowhere/hilum.db")
    with pytest.raises(StorageError, match="unable to open database file"), database.read():
        pass


def test_one_service_holds_a_root(tmp_path: Path) -> None:
    root = tmp_path / "made" / "here"
    with lock_root(root), pytest.raises(AlreadyServing, match="made/here"):
        lock_root(root)
    lock_root(root).release()
