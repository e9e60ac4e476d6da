"""The chain is checked beside the work: from the last check on, and now and then as a whole."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from daemon.audit.checker import DAY_S, EVERY_S, PAUSE_S, Checker
from daemon.audit.standing import look_at_audit
from daemon.settings import Settings
from storage.audit import FIRST, Audit, AuditQuery, _hash
from storage.audit_marks import Marked, Marks
from storage.database import Database
from storage.people import Action, Mark
from storage.sqlite import sqlite
from tests.couriers import Never
from tests.storing import open_storage

NEVER: Any = Never()
SLICE = 20


def check(checker: Checker) -> int:
    """Check until nothing is to do; return how many slices that took."""
    for slices in range(1, 10_000):
        if checker.step(NEVER) == EVERY_S:
            return slices
    raise AssertionError("no end")


def fill(database: Database, count: int) -> None:
    audit = Audit(database)
    with database.write():
        for number in range(count):
            audit.append("ann", Action.STUDY_READ, f"1.2.{number}", at=number)


def tamper(folder: Path, *statements: str) -> None:
    with sqlite.connect(folder / "hilum.db") as connection:
        connection.execute("DROP TRIGGER IF EXISTS audit_no_update")
        connection.execute("DROP TRIGGER IF EXISTS audit_no_delete")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0


def test_the_first_check_is_of_all_and_the_next_of_what_is_new(tmp_path: Path) -> None:
    database = open_storage(tmp_path).database
    now = 10 * DAY_S
    checker = Checker(database, 7, lambda: now, SLICE)
    fill(database, 3 * SLICE)
    assert check(checker) == 4
    assert Marks(database).of(Mark.WHOLE).row == 3 * SLICE
    fill(database, 10)
    assert check(checker) == 2
    assert Marks(database).of(Mark.CHECKED).row == 3 * SLICE + 10
    now += 7 * DAY_S
    assert check(checker) == 5
    assert Marks(database).of(Mark.WHOLE).row == 3 * SLICE + 10


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        ("UPDATE audit SET actor = 'bob' WHERE id = 25", 25),
        ("DELETE FROM audit WHERE id > 15", 20),  # the last 15: a chain without an end is sound
        ("DELETE FROM audit WHERE id = 25", 25),
    ],
)
def test_a_break_is_found_raised_and_written_down_once(
    tmp_path: Path, statement: str, row: int
) -> None:
    database = open_storage(tmp_path).database
    checker = Checker(database, 7, lambda: 10 * DAY_S, SLICE)
    fill(database, 20)
    check(checker)
    fill(database, 10)
    tamper(tmp_path, statement)
    for _ in range(3):
        check(checker)
    assert Marks(database).of(Mark.CHECKED).broken == row
    rows = Audit(database).search(AuditQuery(action=Action.AUDIT_BROKEN), 9)
    assert [one.detail["row"] for one in rows] == [row]


def test_a_row_before_the_last_check_is_found_by_the_check_of_all(tmp_path: Path) -> None:
    database = open_storage(tmp_path).database
    now = 10 * DAY_S
    checker = Checker(database, 7, lambda: now, SLICE)
    fill(database, 20)
    check(checker)
    tamper(tmp_path, "UPDATE audit SET actor = 'bob' WHERE id = 5")
    check(checker)
    assert Marks(database).of(Mark.CHECKED).broken is None
    now += 7 * DAY_S
    check(checker)
    assert Marks(database).of(Mark.WHOLE).broken == 5


def test_a_trail_that_was_made_anew_does_not_fit_the_marks(tmp_path: Path) -> None:
    """Every hash is right, but a mark knows another one."""
    database = open_storage(tmp_path).database
    fill(database, 20)
    Marks(database).put(Mark.SENT, Marked(15, Audit(database).after(14, 1)[0].sha256, 1.0))
    statements, before = ["UPDATE audit SET actor = 'bob' WHERE id = 5"], FIRST
    for one in Audit(database).after(0, 20):
        actor = "bob" if one.id == 5 else one.actor
        values = {"id": one.id, "at": one.at, "actor": actor, "action": one.action,
                  "subject": one.subject, "detail": json.dumps(one.detail)}  # fmt: skip
        before = _hash(before, values)
        statements.append(f"UPDATE audit SET sha256 = '{before}' WHERE id = {one.id}")  # noqa: S608
    tamper(tmp_path, *statements)
    assert Audit(database).verify().broken is None
    assert Audit(database).verify(Marks(database).hashes()).broken == 15


def test_a_long_trail_delays_no_start(tmp_path: Path) -> None:
    """One slice is all that a start begins with, and each later one leaves the others time."""
    database = open_storage(tmp_path).database
    fill(database, 4 * SLICE)
    Marks(database).put(Mark.WHOLE, Marked(4 * SLICE, Audit(database).head().head, 9 * DAY_S))
    Marks(database).put(Mark.CHECKED, Marks(database).of(Mark.WHOLE))
    fill(database, 3)
    checker = Checker(database, 7, lambda: 10 * DAY_S, SLICE)
    started = time.monotonic()
    assert checker.step(NEVER) == PAUSE_S
    assert time.monotonic() - started < 1.0
    assert Marks(database).of(Mark.CHECKED).row == 4 * SLICE  # until the end is reached
    check(checker)
    assert Marks(database).of(Mark.CHECKED).row == 4 * SLICE + 3


def test_what_was_found_stands_in_the_check_and_on_the_system_page(tmp_path: Path) -> None:
    database, settings = open_storage(tmp_path).database, Settings()
    fill(database, 3)
    now = 10 * DAY_S
    check(Checker(database, 7, lambda: now, SLICE))
    assert look_at_audit(settings, database, now).good
    sending = Settings(audit={"host": "collector"})
    late = look_at_audit(sending, database, now)
    assert not late.good
    assert "3 wait for collector" in late.says
    last = Audit(database).after(2, 1)[0]
    Marks(database).put(Mark.SENT, Marked(3, last.sha256, now))
    assert look_at_audit(sending, database, now).good
    tamper(tmp_path, "DELETE FROM audit WHERE id = 3")
    check(Checker(database, 7, lambda: now, SLICE))
    broken = look_at_audit(settings, database, now)
    assert (broken.good, broken.says.split(",")[0]) == (False, "row 3 is not what was written")
