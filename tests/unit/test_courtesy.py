"""A run that gives way: it waits while images are in work, and not for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from daemon import courtesy
from daemon.courtesy import Courtesy
from tests.storing import analysed, arrival, open_storage


def seconds(wait: Courtesy) -> float:
    started = time.monotonic()
    wait()
    return time.monotonic() - started


def test_a_step_waits_until_the_image_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courtesy, "LONGEST_S", 60.0)
    storage = open_storage(tmp_path)
    Courtesy(storage.database)()  # nothing is in work
    wait = Courtesy(storage.database)
    storage.queue.accept(arrival("1.1"))
    job = storage.queue.claim("w1", 60, 1.0)
    assert job is not None
    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    storage.queue.finish(job, analysed(), "9.1", 0, 2.0)
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_service_that_is_never_idle_holds_a_step_up_for_a_while_alone(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.queue.accept(arrival("1.1"))
    wait = Courtesy(storage.database)
    assert seconds(wait) >= courtesy.LONGEST_S
    started = time.monotonic()
    for _ in range(100):  # short steps are held up as shortly
        wait()
    assert time.monotonic() - started < courtesy.LONGEST_S


def test_a_run_keeps_to_half_of_the_cores_when_nothing_else_wants_them() -> None:
    says = "import os; from daemon.courtesy import step_back; step_back(); print("
    says += "os.sched_getscheduler(0) == os.SCHED_IDLE, len(os.sched_getaffinity(0)))"
    done = subprocess.run(
        [sys.executable, "-c", says], capture_output=True, text=True, check=True, timeout=60
    )
    cores = len(os.sched_getaffinity(0))
    assert done.stdout.split() == ["True", str(cores - cores // 2)]
