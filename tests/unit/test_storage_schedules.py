"""Schedules and runs on a real database: one run for each due time, and a claim that holds."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from storage.audit import Audit, AuditQuery
from storage.errors import LostClaim, NotFound, Refused, StorageError
from storage.runs import MAX_ATTEMPTS, Runs
from storage.schedule_records import RunClaim, RunKind, RunState, Timing, Window
from storage.schedules import Due, Schedules
from tests.storing import Storage, open_storage

NIGHT = Timing("30 2 * * *", None, "Europe/Berlin", Window(22 * 60, 5 * 60))


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


@pytest.fixture
def schedules(storage: Storage) -> Schedules:
    return Schedules(storage.database)


@pytest.fixture
def runs(storage: Storage) -> Runs:
    return Runs(storage.database)


def claimed(schedules: Schedules, runs: Runs, now: float = 10.0) -> RunClaim:
    claim = runs.claim(schedules.run_now("backup", "ada", now), "host", 30, now)
    assert claim is not None
    return claim


def test_a_schedule_is_kept_as_it_was_given(schedules: Schedules, storage: Storage) -> None:
    made = schedules.add("nightly", RunKind.BACKUP, NIGHT, "ada", 5.0)
    assert (made.name, made.kind, made.timing, made.seen_until) == ("nightly", "backup", NIGHT, 5.0)
    assert str(NIGHT.window) == "22:00-05:00"
    with pytest.raises(Refused, match='"nightly" already'):
        schedules.add("nightly", RunKind.BACKUP, NIGHT, "ada", 6.0)
    rows = Audit(storage.database).search(AuditQuery(), 10)
    assert [(row.actor, row.action) for row in rows] == [("ada", "schedule.added")]


@pytest.mark.parametrize("timing", [("0 0 * * *", 60.0), (None, None)])
def test_the_database_takes_either_cron_or_an_interval(
    schedules: Schedules, timing: tuple[str | None, float | None]
) -> None:
    with pytest.raises(StorageError, match="refused a statement"):
        schedules.add("odd", RunKind.BACKUP, Timing(*timing, "UTC", None), "ada", 5.0)


def test_a_removed_name_can_be_used_again_and_its_waiting_run_is_gone(
    schedules: Schedules, runs: Runs
) -> None:
    made = schedules.add("nightly", RunKind.BACKUP, NIGHT, "ada", 5.0)
    run_id = schedules.see(made, 10.0, Due(9.0, 0), 10.0)
    assert run_id is not None
    schedules.remove("nightly", "ada", 11.0)
    assert runs.show(run_id).state is RunState.CANCELLED
    assert schedules.all() == ()
    with pytest.raises(NotFound, match="There are: none"):
        schedules.remove("nightly", "ada", 12.0)
    schedules.add("nightly", RunKind.EVALUATE, NIGHT, "ada", 13.0)


def test_many_processes_make_one_run_of_a_due_time(tmp_path: Path, storage: Storage) -> None:
    made = Schedules(storage.database).add("nightly", RunKind.BACKUP, NIGHT, "ada", 5.0)
    found: list[object] = []
    ready = threading.Barrier(6)

    def look() -> None:
        own = open_storage(tmp_path, migrate=False)
        ready.wait()
        found.append(Schedules(own.database).see(made, 10.0, Due(9.0, 0), 10.0))
        own.database.close()

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len([one for one in found if one is not None]) == 1
    assert len(Runs(storage.database).rows()) == 1


def test_a_due_time_is_never_run_twice_though_the_clock_went_back(
    schedules: Schedules, runs: Runs
) -> None:
    schedules.add("nightly", RunKind.BACKUP, NIGHT, "ada", 5.0)
    run_id = schedules.see(schedules.find("nightly"), 10.0, Due(9.0, 0), 10.0)
    assert run_id is not None
    claim = runs.claim(run_id, "host", 30, 10.0)
    assert claim is not None
    runs.end(claim, RunState.DONE, 11.0, {"kept": 1})
    schedules.see(schedules.find("nightly"), 8.0, None, 8.0)  # the clock was set back
    assert schedules.see(schedules.find("nightly"), 10.0, Due(9.0, 0), 10.0) is None
    assert len(runs.rows()) == 1


def test_what_comes_due_while_one_waits_joins_it(schedules: Schedules, runs: Runs) -> None:
    schedules.add("nightly", RunKind.BACKUP, NIGHT, "ada", 5.0)
    assert schedules.see(schedules.find("nightly"), 10.0, Due(9.0, 3), 10.0)
    assert schedules.see(schedules.find("nightly"), 20.0, Due(19.0, 1), 20.0) is None
    (run,) = runs.rows()
    assert (run.missed, run.schedule, run.timing) == (5, "nightly", NIGHT)


def test_one_run_is_in_work_at_a_time_and_a_late_process_loses_its_claim(
    schedules: Schedules, runs: Runs
) -> None:
    claim = claimed(schedules, runs)
    second = schedules.run_now("evaluate", "ada", 11.0)
    assert runs.claim(second, "host", 30, 12.0) is None
    assert runs.beat(claim, 30, 20.0, "evaluate", 3, 10) is False
    assert runs.put_back(45.0) == ()
    assert runs.put_back(51.0) == (claim.id,)
    with pytest.raises(LostClaim):
        runs.beat(claim, 30, 52.0, "evaluate", 4, 10)
    with pytest.raises(LostClaim):
        runs.end(claim, RunState.DONE, 52.0)
    assert runs.claim(second, "host", 30, 53.0) is not None


def test_a_run_that_kills_each_process_has_failed(schedules: Schedules, runs: Runs) -> None:
    run_id, now = schedules.run_now("backup", "ada", 0.0), 0.0
    for _ in range(MAX_ATTEMPTS):
        now += 1000
        assert runs.claim(run_id, "host", 30, now) is not None
        assert runs.put_back(now + 1, "host") == (run_id,)
    found = runs.show(run_id)
    assert (found.state, found.attempts) == (RunState.FAILED, MAX_ATTEMPTS)
    assert found.reason is not None


def test_a_lease_and_a_wait_of_a_clock_that_was_years_ahead_hold_nothing_up(
    schedules: Schedules, runs: Runs
) -> None:
    later = 1e8
    claim = claimed(schedules, runs, later)
    assert runs.put_back(10.0) == (claim.id,)  # the clock was set right, and its process is dead
    assert runs.claim(claim.id, "host", 30, 12.0) is None  # it waits a while after a death
    assert runs.claim(claim.id, "host", 30, 30.0) is not None
    assert runs.put_back(later, "host") == (claim.id,)  # once more ahead: the wait is written so
    assert runs.show(claim.id).not_before > later
    assert runs.claim(claim.id, "host", 30, 40.0) is not None


def test_cancelling(schedules: Schedules, runs: Runs) -> None:
    waiting = schedules.run_now("backup", "ada", 1.0)
    assert runs.cancel(waiting, "ada", 2.0) is RunState.CANCELLED
    with pytest.raises(Refused, match="is cancelled and cannot"):
        runs.cancel(waiting, "ada", 3.0)
    claim = claimed(schedules, runs)
    assert runs.cancel(claim.id, "ada", 11.0) is RunState.RUNNING
    assert runs.beat(claim, 30, 12.0, "", 0, 0) is True
    assert runs.put_back(13.0, "host") == (claim.id,)  # its process died of it
    assert runs.show(claim.id).state is RunState.CANCELLED


def test_a_run_handed_back_has_not_failed(schedules: Schedules, runs: Runs) -> None:
    claim = claimed(schedules, runs)
    runs.hand_back(claim)
    again = runs.claim(claim.id, "host", 30, 12.0)
    assert again is not None
    assert (again.attempts, again.token) == (1, claim.token + 1)


def test_the_run_that_made_a_bundle_is_found(schedules: Schedules, runs: Runs) -> None:
    claim = claimed(schedules, runs)
    runs.note_candidate(claim, "d" * 64)
    runs.end(claim, RunState.DONE, 20.0, {"verdict": {"passed": False}}, candidate="d" * 64)
    found = runs.that_made("d" * 64)
    assert found is not None
    assert found.outcome == {"verdict": {"passed": False}}
    assert runs.that_made("e" * 64) is None


def test_a_name_that_is_neither_schedule_nor_kind_says_what_there_is(schedules: Schedules) -> None:
    with pytest.raises(NotFound, match="Kinds: backup, recalibrate, retrain, evaluate"):
        schedules.run_now("nightly", "ada", 1.0)
