"""An image that hangs the decoder, ends it or asks for all memory is given up; 99 others are not.

The worker, its process, its limits and its queue are the real ones; the decoder is the test's, and
does what an image's PatientID says.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from classifier.classify import Classification
from classifier.preprocessing import Placement
from daemon import image_work
from daemon.limits import TimeLimit, limit_memory, why_ended
from daemon.settings import Settings
from daemon.worker import Worker
from storage.records import JobState, StudyState
from tests import soak
from tests.faults.test_worker_company import Victim, put
from tests.harness import until
from tests.storing import Storage, open_storage

LIMIT_S = 0.5
LIMIT_BYTES = 256 << 20


class Hostile(Victim):
    """What a worker asks of a classifier; an image may do harm to it."""

    def prepare(self, dataset: Dataset) -> Any:
        deed = str(dataset.PatientID)
        if deed == "HANG":  # in C, with the interpreter's lock held: no thread of Python's runs
            ctypes.PyDLL(None).pause()
        if deed == "GROW":
            eat()
        if deed == "ABORT":  # as a decoder in C++ does that is given no memory
            try:
                eat()
            except MemoryError:
                os.abort()
        return deed

    def infer(self, prepared: Any) -> Classification:
        if prepared == "PAUSE":
            time.sleep(1.0)
        placement = Placement(rows=16, columns=16, top=0, left=0, scale=1, side=16)
        return Classification((), np.zeros((0, 14, 14), np.float32), placement)


def eat() -> None:
    """Take a GiB for good."""
    taken = [np.ones(16 << 20, np.uint8) for _ in range(64)]
    assert len(taken) == 64


def live(root: Path, owner: str, limit_s: float | None, limit_bytes: int | None) -> None:
    """Answer all images there are, in a process of its own."""
    image_work.RETRY_S = 0.05
    storage = open_storage(root, migrate=False)
    classifier: Any = Hostile()
    limit = None if limit_s is None else TimeLimit(limit_s)
    settings = Settings(report={"study_quiet_s": 3600})
    worker = Worker(settings, storage.objects, storage.database, classifier, owner, limit=limit)
    if limit_bytes is not None:
        limit_memory(limit_bytes)
    while worker.step() or storage.queue.counts().jobs[JobState.PENDING]:
        pass


@contextmanager
def started(
    storage: Storage, owner: str = "worker-0", *, limit_s: float | None = LIMIT_S,
    limit_bytes: int | None = LIMIT_BYTES,
) -> Iterator[BaseProcess]:  # fmt: skip
    """Start a worker, and end it whatever happens."""
    storage.database.close()
    arguments = (storage.root, owner, limit_s, limit_bytes)
    process = get_context("fork").Process(target=live, args=arguments)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def work(storage: Storage, limit_s: float | None) -> list[int]:
    """Run workers one after another, as the supervisor does; return how each ended."""
    ends: list[int] = []
    while not ends or ends[-1] != 0:
        with started(storage, limit_s=limit_s) as worker:
            worker.join(60)
            status = worker.exitcode
        assert status is not None, "it hangs"
        ends.append(status)
        storage.queue.release("worker-0", time.time(), why_ended(status))
    return ends


@pytest.mark.parametrize("images", [10, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    ("deed", "end", "code", "reason"),
    [
        ("HANG", -signal.SIGALRM, "crashed", "decoding it ended the process: it took longer than"),
        ("ABORT", -signal.SIGABRT, "crashed", "decoding it ended the process: a decoder gave up"),
        ("GROW", None, "failed", "MemoryError at"),
    ],
    ids=["hang", "abort", "grow"],
)
def test_1_of_100_is_quarantined_with_its_reason_and_99_are_answered(
    tmp_path: Path, images: int, deed: str, end: int | None, code: str, reason: str
) -> None:
    storage = open_storage(tmp_path)
    for number in range(1, images + 1):
        put(storage, number, deed if number == 7 else "")
    assert work(storage, LIMIT_S if deed == "HANG" else None) == [
        *([end] * 3 if end is not None else []),
        0,
    ]

    rows = storage.queue.rows()
    assert len([row for row in rows if row.state is JobState.DONE]) == images - 1
    (bad,) = [row for row in rows if row.state is JobState.QUARANTINED]
    assert (bad.sop_instance_uid, bad.reason_code) == ("1.7", code)
    assert str(bad.reason).startswith(reason), bad.reason
    # Its study's report names it: silence is never an answer
    (answer,) = storage.studies.show("9.7").instances
    assert answer.result.reason_code == code
    seen = f"{deed}: {images - 1} reported, 1 quarantined after 3 attempts"
    limit = f"{images - 1} reported, 1 quarantined"
    soak.record(soak.CRASHING_IMAGE, tried=images, seen=seen, limit=limit, good=True)


def test_without_the_limit_of_time_it_hangs_for_ever(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    put(storage, 1, "HANG")
    with started(storage, limit_s=None) as worker:
        worker.join(5 * LIMIT_S)
        assert worker.exitcode is None


def test_without_the_limit_of_memory_it_is_given_all_it_asks_for(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    put(storage, 1, "GROW")
    with started(storage, limit_s=None, limit_bytes=None) as worker:
        worker.join(60)
        assert worker.exitcode == 0
    assert storage.queue.rows()[0].state is JobState.DONE


def test_a_worker_stopped_past_its_lease_and_resumed_changes_nothing(tmp_path: Path) -> None:
    """SIGSTOP amid an image, another takes it over, SIGCONT: one result, one report."""
    storage = open_storage(tmp_path)
    put(storage, 1, "PAUSE")
    with started(storage, limit_s=None) as first:
        until(lambda: storage.queue.counts().jobs[JobState.RUNNING], 20)
        os.kill(int(first.pid or 0), signal.SIGSTOP)
        storage.queue.release_expired(time.time() + 3600)
        with started(storage, "worker-1", limit_s=None) as second:
            second.join(60)
            assert second.exitcode == 0
        (done,) = storage.queue.rows()
        assert (done.state, done.attempts) == (JobState.DONE, 2)
        os.kill(int(first.pid or 0), signal.SIGCONT)
        first.join(60)
        assert first.exitcode == 0  # it has lost its claim, and says so in the log
    assert [(row.state, row.attempts) for row in storage.queue.rows()] == [(JobState.DONE, 2)]
    study = storage.studies.show("9.1")
    assert len(study.instances) == 1
    assert (study.state, study.report_version) == (StudyState.REPORTED, 1)
    one = "1 result, 1 report"
    soak.record(soak.STALE_WORKER, tried=1, seen=one, limit=one, good=True)
