"""kill -9 at every step: nothing acknowledged is lost, nothing is reported twice.

The short form takes some of the points, `make soak` all of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from storage.records import DeliveryState, JobState, StudyState
from storage.reviews import Reviews
from tests import soak
from tests.faults.storage_victim import IMAGES, REVIEWED, STUDIES, life
from tests.storing import open_storage

REPOSITORY = Path(__file__).parents[2]
NOTHING = "0 acknowledged images lost, 0 reports twice"
VICTIM = [sys.executable, "-m", "tests.faults.storage_victim"]

pytestmark = pytest.mark.slow
every_point = pytest.mark.parametrize(
    "every", [False, pytest.param(True, marks=[pytest.mark.soak, pytest.mark.timeout(900)])]
)


def assert_nothing_lost(root: Path, said: list[str]) -> None:
    """Look at what a killed life left, live on to the end, and look again."""
    storage = open_storage(root)
    assert storage.database.quick_check() == []
    rows = {row.sop_instance_uid: row for row in storage.queue.rows()}
    reports = {row.sop_instance_uid: row for row in storage.outbox.rows()}
    for line in said:
        what, uid = line.split()
        if what == "acknowledged":
            assert storage.objects.read(rows[uid].sha256) == uid.encode() * 3000
        elif what == "reported":
            assert uid in reports
        elif what == "reviewed":
            assert [one.id for one in Reviews(storage.database).of_study(REVIEWED)] == [int(uid)]
        else:
            assert reports[uid].state is DeliveryState.STORED
    storage.database.close()

    life(root, lambda _: None)
    storage = open_storage(root)
    assert [row.state for row in storage.queue.rows()] == [JobState.DONE] * len(IMAGES)
    for study in storage.studies.rows():
        assert study.state is StudyState.REPORTED
        have = [
            one.instance.arrival.sop_instance_uid
            for one in storage.studies.show(study.study_instance_uid).instances
        ]
        assert have == [uid for uid in IMAGES if STUDIES[uid] == study.study_instance_uid]
        deliveries = [
            (row.version, row.state)
            for row in reversed(storage.outbox.rows())
            if row.study_instance_uid == study.study_instance_uid
        ]
        versions = range(1, study.report_version + 1)
        assert deliveries == [(version, DeliveryState.STORED) for version in versions]
        # A second version only where an image came after the first, or for a review.
        said = [one.version for one in Reviews(storage.database).of_study(study.study_instance_uid)]
        assert study.report_version <= len(have) + len(said)
        assert said == ([2] if study.study_instance_uid == REVIEWED else [])
    assert len(storage.studies.rows()) == 2
    (label,) = Reviews(storage.database).labels()
    assert (label.sop_instance_uid, label.finding, label.present) == ("1.3", "pneumonia", False)
    assert storage.objects.sweep() == 0
    storage.database.close()


# -- at every fsync, rename and commit that we make ourselves ----------------------------------


class Killer:
    """Kills its process at the n-th step; a step is just before or just after a call."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0

    def step(self, *_: Any) -> None:
        self.steps += 1
        if self.steps == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **named: Any) -> Any:
            self.step()
            answer = call(*arguments, **named)
            self.step()
            return answer

        return stepped


def live_and_die(root: Path, at: int) -> tuple[list[str], int, int]:
    """Fork a life that is killed at a step; return what it said, its steps, how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # never returns
        killer = Killer(at)
        os.fsync = killer.around(os.fsync)
        os.replace = killer.around(os.replace)
        event.listen(Engine, "begin", killer.step)
        event.listen(Engine, "commit", killer.step)
        try:
            life(root, lambda line: (os.write(writing, line.encode() + b"\n"), None)[1])
            os.write(writing, f"steps {killer.steps}\n".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    steps = int(said.pop().split()[1]) if said and said[-1].startswith("steps") else 0
    return said, steps, status


@every_point
def test_a_kill_at_any_step_loses_nothing(tmp_path: Path, every: bool) -> None:
    said, steps, status = live_and_die(tmp_path / "whole", 0)
    assert (status, len(said)) == (0, 3 + 3 + 3 + 1)
    assert steps > 80
    points = range(1, steps + 1, 1 if every else 6)
    for at in points:
        root = tmp_path / str(at)
        said, _, status = live_and_die(root, at)
        assert os.WTERMSIG(status) == signal.SIGKILL, at
        assert_nothing_lost(root, said)
        shutil.rmtree(root)
    soak.record(soak.KILL, tried=len(points), seen=NOTHING, limit=NOTHING, good=True)


# -- at every system call that SQLite makes ----------------------------------------------------

CALLS = ("fdatasync", "pwrite64", "ftruncate", "fsync", "rename")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How often a whole life makes each system call."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    folder = tmp_path_factory.mktemp("whole")
    log = folder / "strace"
    command = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=" + ",".join(CALLS)]
    done = subprocess.run([*command, *VICTIM, "life", str(folder / "root")], cwd=REPOSITORY)
    if done.returncode != 0:
        pytest.skip("strace may not trace here")
    text = log.read_text()
    return {call: text.count(f" {call}(") for call in CALLS}


@every_point
@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_any_system_call_loses_nothing(
    tmp_path: Path, calls: dict[str, int], call: str, every: bool
) -> None:
    assert sum(calls.values()) > 50
    if calls[call] < 3:
        pytest.skip(f"this SQLite does without {call}")
    points = range(1, calls[call] + 1) if every else [calls[call] // 3, calls[call] * 2 // 3]
    for at in points:
        root = tmp_path / str(at)
        inject = f"inject={call}:signal=SIGKILL:when={at}"
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", inject]
        done = subprocess.run(
            [*command, *VICTIM, "life", str(root)],
            cwd=REPOSITORY, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}, done.stderr
        assert_nothing_lost(root, done.stdout.splitlines())
        shutil.rmtree(root)
    soak.record(soak.KILL, tried=len(points), seen=NOTHING, limit=NOTHING, good=True)
