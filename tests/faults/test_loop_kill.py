"""kill -9 in the decisions of the loop: after each commit, one bundle serves, and it is promoted
once; and of many schedulers one decides."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from daemon.trials import Conductor
from storage.database import Database, open_database
from storage.ledger import Ledger
from storage.queue import Queue
from storage.shadow import Shadow
from storage.shadow_records import TrialState
from storage.trials import Trials
from tests.storing import analysed, arrival, open_storage
from tests.trying import CANDIDATE, SERVING, conductor, judge, registered, settings, try_all

IMAGES = 3
RULE = {"promote": "after_shadow", "shadow_images": IMAGES, "shadow_days": 1}

pytestmark = pytest.mark.slow


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A storage whose candidate has passed the gate."""
    storage = open_storage(tmp_path)
    serving, candidate = registered(storage.database)
    judge(storage.database, candidate.digest, serving.digest)
    storage.database.close()
    return str(storage.database.url)


def life(database: Database, folder: Path) -> None:
    """Do all of a trial that is still to do: begin, take images, classify, decide, promote."""
    rule = conductor(database, folder, **RULE)
    rule.step()
    serve_all(database)
    try_all(database)
    rule.step()


def serve_all(database: Database) -> None:
    """Take what is left of the images through the queue, as the worker does."""
    queue = Queue(database)
    queue.release_all(10)
    for number in range(IMAGES):
        queue.accept(arrival(f"1.{number}", received_at=10))
    while (job := queue.claim("w1", 60, 20)) is not None:
        queue.finish(job, analysed(), f"9.{job.id}", 0, 20)


def child(work: Callable[[], None]) -> int:
    """Do it in a fork; return the fork's process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def killed_at(url: str, folder: Path, number: int) -> bool:
    """Live in a process that is killed before its n-th commit of a write; whether it was."""

    def work() -> None:
        database, count = open_database(url), 0

        def on(connection: Connection) -> None:
            nonlocal count
            count += bool(connection.get_execution_options().get("hilum_write"))
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

        event.listen(database._engine, "commit", on)
        life(database, folder)

    status = ended(child(work))
    assert status in (0, -signal.SIGKILL)
    return status != 0


def check_end(url: str) -> None:
    """The same end state, whatever was killed: tried once, promoted once, one bundle serves."""
    database = open_database(url)
    ledger, (trial,) = (
        Ledger(database),
        Trials(database).of(Ledger(database).find(CANDIDATE).digest),
    )
    assert (trial.state, trial.done) == (TrialState.PROMOTED, IMAGES)
    assert [line.deed for line in ledger.history()] == ["promoted", "configured"]
    serving = ledger.serving()
    assert serving is not None
    assert serving.model.version == CANDIDATE
    compared = Shadow(database).compared(trial.id)
    assert len({one.instance_id for one in compared}) == len(compared) == IMAGES
    assert all(len(one.decisions) == 2 for one in compared)
    database.close()


def test_a_kill_at_each_commit_leaves_one_bundle_and_one_promotion(
    url: str, tmp_path: Path
) -> None:
    pristine = (tmp_path / "hilum.db").read_bytes()
    points = 0
    while True:
        for file in tmp_path.glob("hilum.db*"):
            file.unlink()
        (tmp_path / "hilum.db").write_bytes(pristine)
        killed = killed_at(url, tmp_path / "config", points + 1)
        database = open_database(url)
        serving = Ledger(database).serving()
        assert serving is not None
        assert serving.model.version in (SERVING, CANDIDATE)
        life(database, tmp_path / "config")
        database.close()
        check_end(url)
        if not killed:
            break
        points += 1
    assert points >= 10
    print(f"killed before a commit at {points} points: one bundle serves, promoted once")


def test_of_many_schedulers_one_begins_and_one_promotes(url: str, tmp_path: Path) -> None:
    """Six processes look at the same moment, at the beginning and at the end of a trial."""

    chosen = settings(tmp_path / "config", **RULE)

    def look() -> None:
        Conductor(chosen, open_database(url), lambda: 100).step()

    database = open_database(url)
    for _ in range(2):
        looking = [child(look) for _ in range(6)]
        assert [ended(pid) for pid in looking] == [0] * 6
        serve_all(database)
        try_all(database)
        database.close()
    check_end(url)
