"""Several real processes on one database: no claim is given twice, no image is lost."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.database import open_database
from storage.errors import LostClaim
from storage.outbox import Outbox
from storage.queue import Queue
from storage.records import DeliveryState, JobState
from storage.studies import Studies
from tests import databases
from tests.harness import until
from tests.storing import analysed, arrival, new_report, open_storage

PROCESSES = 4
IMAGES = 40
UNFINISHED = [JobState.PENDING, JobState.RUNNING]

pytestmark = pytest.mark.slow


def in_processes(url: str, act: Callable[[int, str, Callable[[str], None]], None]) -> list[str]:
    """Run it in several forked processes at once; return the lines that they said."""
    reading, writing = os.pipe()
    children = []
    for number in range(PROCESSES):
        child = os.fork()
        if child == 0:  # never returns
            code = 1
            try:
                act(number, url, lambda line: (os.write(writing, line.encode() + b"\n"), None)[1])
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read().splitlines()
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * PROCESSES
    return said


def work(number: int, url: str, say: Callable[[str], None]) -> None:
    """Claim and finish whatever there is, each third job first put back once."""
    queue, owner = Queue(open_database(url)), f"w{number}"
    while (job := queue.claim(owner, 60, 1e6)) is not None:
        say(f"job {job.id} {job.token}")
        if job.attempts == 1 and job.id % 3 == 0:
            queue.retry(job, "failed", "", 0, 1e6)
        else:
            queue.finish(job, analysed(), f"9.{job.id % 10}", 0, 1e6)


def report(number: int, url: str, say: Callable[[str], None]) -> None:
    """Report and send whatever there is."""
    database, owner = open_database(url), f"w{number}"
    studies, outbox = Studies(database), Outbox(database)
    while (study := studies.claim_due(owner, 60, 1e6)) is not None:
        say(f"study {study.id} {study.token}")
        made = new_report(f"7.{study.id}.{study.version}")
        studies.reported(study, made, ["a"], 1e6)
    while deliveries := outbox.claim("a", 2, owner, 60, 1e6):
        for delivery in deliveries:
            say(f"delivery {delivery.id} {delivery.token}")
            outbox.stored(delivery, "0000", 1e6)


def accept(number: int, url: str, say: Callable[[str], None]) -> None:
    """Accept the same images as everyone else, each in an order of its own."""
    queue = Queue(open_database(url))
    for n in range(IMAGES):
        uid = f"1.{(n + number * 10) % IMAGES}"
        say(f"{uid} {queue.accept(arrival(uid, received_at=n))}")


def test_processes_that_race_never_do_the_same_twice(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    storage.database.close()
    url = databases.url(tmp_path / "hilum.db")

    accepted = Counter(in_processes(url, accept))
    for n in range(IMAGES):
        assert accepted[f"1.{n} new"] == 1
        assert accepted[f"1.{n} repeated"] == PROCESSES - 1

    claims = in_processes(url, work)
    assert len(set(claims)) == len(claims) == IMAGES + IMAGES // 3
    storage = open_storage(tmp_path)
    assert storage.queue.counts().jobs[JobState.DONE] == IMAGES
    assert all(storage.queue.show(row.id).result == analysed() for row in storage.queue.rows())
    storage.database.close()

    claims = in_processes(url, report)
    assert len(set(claims)) == len(claims) == 10 + 10
    storage = open_storage(tmp_path)
    assert storage.queue.counts().deliveries[DeliveryState.STORED] == 10
    assert {row.report_version for row in storage.studies.rows()} == {1}
    assert storage.database.quick_check() == []


def overtake(number: int, url: str, say: Callable[[str], None]) -> None:
    """Work under leases that have run out already; the first process releases them all along."""
    queue, owner = Queue(open_database(url)), f"w{number}"
    while queue.rows(UNFINISHED):
        if number == 0:
            queue.release_expired(100)
        elif (job := queue.claim(owner, -1, 100)) is not None:
            if job.attempts == 1 and job.id % 4 == 0:  # stopped until it has been taken over
                until(lambda: queue.show(job.id).row.state is not JobState.RUNNING)
            try:
                queue.finish(job, analysed(), f"9.{job.id}", 0, 100)
            except LostClaim:
                say("lost")
            else:
                say(f"finished {job.id}")


def test_workers_that_are_taken_over_write_one_result(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    for n in range(IMAGES):
        storage.queue.accept(arrival(f"1.{n}"))
    storage.database.close()
    said = Counter(in_processes(databases.url(tmp_path / "hilum.db"), overtake))

    assert said.pop("lost") >= IMAGES // 4
    assert said == {f"finished {number}": 1 for number in range(1, IMAGES + 1)}
    storage = open_storage(tmp_path)
    assert all(storage.queue.show(row.id).result == analysed() for row in storage.queue.rows())
    assert len(storage.studies.rows()) == IMAGES
