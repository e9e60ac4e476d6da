"""The scheduler and the processes of runs, as the service has them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from daemon.scheduler import Scheduler
from daemon.settings import load
from storage.backup import back_up
from storage.database import open_database
from storage.errors import DatabaseDamaged
from storage.runs import Runs
from storage.schedule_records import RunKind, RunState, Timing
from storage.schedules import Schedules
from storage.sqlite import sqlite
from tests.harness import Service, hilum, running, until, write_config
from tests.storing import arrival, open_storage


def asked(service: Service, *arguments: str) -> Any:
    done = service.hilum("schedule", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def children(service: Service) -> list[psutil.Process]:
    assert service.process is not None
    return psutil.Process(service.process.pid).children(recursive=True)


def test_a_backup_comes_due_runs_and_is_whole(service: Service) -> None:
    with running(service):
        added = asked(service, "add", "often", "--kind", "backup", "--every", "1m")
        assert added["next_due"] > time.time()
        # the time is brought forward: the schedule is a minute older than it was
        database = open_database(service.database_url)
        with database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE schedule SET created_at = created_at - 59, seen_until = seen_until - 59"
            )
        ended = service.saw("run.ended", 30)
        assert (ended["state"], ended["kind"]) == ("done", "backup")
        (line,) = [one for one in asked(service, "list")["runs"] if one["id"] == ended["run"]]
        assert "sound" in line["summary"]
        (file,) = (service.folder / "root" / "backups").glob("backup-*.sqlite")
        with sqlite.connect(file) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert copy.execute("SELECT name FROM schedule").fetchall() == [("often",)]
        scheduler = next(p for p in children(service) if p.name() == "hilum-scheduler")
        assert scheduler.memory_full_info().uss < 40e6
        libraries = Path(f"/proc/{scheduler.pid}/maps").read_text()
        assert not any(name in libraries for name in ("openvino", "tensorflow", "sklearn"))
        database.close()


def test_a_refusal_says_why(service: Service) -> None:
    with running(service):
        kinds = ("recalibrate", "retrain", "evaluate")
        numbers = [asked(service, "run", kind)["run"] for kind in kinds]
        service.saw("run.ended", 60, count=len(numbers))
        for number in numbers:
            found = asked(service, "show", str(number))
            assert found["state"] == "refused"
            assert "No reviewed image" in found["reason"]
        assert not service.events("process.died")


def test_a_stop_hands_the_run_back_and_a_start_goes_on(service: Service) -> None:
    with running(service):
        number = asked(service, "run", "evaluate")["run"]
        service.saw("process.started", 20, count=6)
        service.stop()
    database = open_database(service.database_url)
    before = Runs(database).show(number)
    assert before.state in (RunState.WAITING, RunState.REFUSED)
    service.start()
    until(lambda: Runs(database).show(number).state is RunState.REFUSED, 40, 0.2)
    service.stop()
    database.close()


@pytest.fixture
def alone(service: Service) -> Scheduler:
    """A scheduler without a service around it."""
    settings = load(service.config)
    open_storage(settings.storage.root)
    database = open_database(settings.storage.url)
    database.migrate(settings.storage.root / "backups")
    return Scheduler(settings, database)


def child_of(scheduler: Scheduler) -> psutil.Process:
    (child,) = scheduler._children
    return psutil.Process(child.process.pid)


def test_a_process_that_is_killed_is_followed_by_another(alone: Scheduler) -> None:
    runs = alone._runs
    number = alone._schedules.run_now("evaluate", "ada", time.time())
    alone.step()
    until(lambda: runs.show(number).state is RunState.RUNNING, 30)
    os.kill(child_of(alone).pid, signal.SIGKILL)
    until(lambda: alone.step() or runs.show(number).state is RunState.WAITING, 10, 0.1)
    found = runs.show(number)
    assert (found.attempts, found.not_before > time.time()) == (1, True)
    alone._clock = lambda: found.not_before + 1
    alone.step()
    alone._clock = time.time
    alone.end()


def test_a_cancelled_run_ends_within_seconds(alone: Scheduler) -> None:
    runs = alone._runs
    number = alone._schedules.run_now("evaluate", "ada", time.time())
    alone.step()
    until(lambda: runs.show(number).state is RunState.RUNNING, 30, 0.005)
    os.kill(child_of(alone).pid, signal.SIGSTOP)  # in the midst of its work, however quick
    runs.cancel(number, "ada", time.time())
    os.kill(child_of(alone).pid, signal.SIGCONT)
    until(lambda: alone.step() or runs.show(number).state.is_final, 10, 0.1)
    assert runs.show(number).state in (RunState.CANCELLED, RunState.REFUSED)
    alone.end()


def test_a_process_that_cannot_even_start_is_not_tried_for_ever(
    alone: Scheduler, service: Service
) -> None:
    number = alone._schedules.run_now("backup", "ada", time.time())
    service.config.write_text("this is no TOML")
    alone.step()
    until(lambda: alone.step() or not alone._children, 30, 0.1)
    found = alone._runs.show(number)
    assert (found.state, found.attempts) == (RunState.WAITING, 1)
    assert found.not_before > time.time()
    alone.end()


def test_two_schedulers_make_one_run_of_each_due_time(alone: Scheduler) -> None:
    start = time.time()
    alone._schedules.add("often", RunKind.BACKUP, Timing(None, 60.0, "UTC", None), "ada", start)
    settings, now = alone._settings, [start]
    others = [
        Scheduler(settings, open_database(settings.storage.url), lambda: now[0]) for _ in range(3)
    ]
    for minute in range(1, 6):
        now[0] = start + 60 * minute + 1
        threads = [threading.Thread(target=one.make_due) for one in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        (waiting,) = alone._runs.open()
        claim = alone._runs.claim(waiting.id, "test", 60, now[0])
        assert claim is not None
        alone._runs.end(claim, RunState.DONE, now[0])
    due = [run.due_at for run in alone._runs.rows()]
    assert len(due) == len(set(due)) == 5


def test_a_backup_that_finds_no_room_fails_and_says_so(tmp_path: Path) -> None:
    config = write_config(tmp_path, None, storage={"reserve_bytes": 1 << 60})
    root = load(config).storage.root
    database = open_database(load(config).storage.url)
    root.mkdir()
    database.migrate(root / "backups")
    number = Schedules(database).run_now("backup", "ada", time.time())
    done = hilum("run", str(number), "--config", str(config))
    assert done.returncode == 0, done.stderr
    found = Runs(database).show(number)
    assert (found.state, found.outcome) == (RunState.FAILED, None)
    assert "not enough free space" in str(found.reason)
    assert not list(root.glob("backups/*"))
    database.close()


def test_a_damaged_copy_never_takes_a_sound_ones_place(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    folder = tmp_path / "backups"
    back_up(storage.database, folder, 1, 0, 1.8e9)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with storage.database.write() as connection:
        page = connection.exec_driver_sql(
            "SELECT rootpage FROM sqlite_master WHERE name = 'instance'"
        ).scalar_one()
        size = connection.exec_driver_sql("PRAGMA page_size").scalar_one()
    storage.database.close()
    with (tmp_path / "hilum.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(DatabaseDamaged):
        back_up(storage.database, folder, 1, 0, 1.8e9 + 60)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_last_backups_are_kept_and_others_are_left_alone(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.queue.accept(arrival("1.2.3"))
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "hilum-0003-20250101T000000Z.db").write_bytes(b"before a migration")
    for hour in range(5):
        made = back_up(storage.database, folder, 3, 0, 1.8e9 + 3600 * hour)
    names = sorted(file.name for file in folder.iterdir())
    assert len([name for name in names if name.startswith("backup-")]) == 3
    assert names[-1] == "hilum-0003-20250101T000000Z.db"
    assert made.rows > 2
    with sqlite.connect(made.file) as copy:
        assert copy.execute("SELECT sop_instance_uid FROM instance").fetchall() == [("1.2.3",)]
