"""What one image costs the database, from its association to its report in the PACS.

A commit is up to five syncs of the disk, so commits are what counts: one for each thing that must
not be done twice or forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from sqlalchemy import Engine, event

from classifier.classify import Classification
from classifier.preprocessing import Placement
from daemon.delivery import Courier
from daemon.listener import Listener
from daemon.settings import PacsSettings, Settings
from daemon.simulate import Form, Kind, make_object, send
from daemon.worker import Worker
from storage.records import DeliveryState, Finding, JobState
from tests.harness import Pacs
from tests.storing import Storage, open_storage


@dataclass
class Cost:
    """What a stage asked of the database."""

    statements: int = 0
    commits: int = 0


@contextmanager
def counted() -> Iterator[Cost]:
    """Count every statement and every write transaction of any thread."""
    cost = Cost()

    def count(_c: Any, _cursor: Any, sql: str, _p: Any, _x: Any, _many: bool) -> None:
        verb = sql.split()[0]
        cost.commits += sql == "BEGIN IMMEDIATE"
        cost.statements += verb in {"SELECT", "INSERT", "UPDATE", "DELETE"}

    event.listen(Engine, "before_cursor_execute", count)
    try:
        yield cost
    finally:
        event.remove(Engine, "before_cursor_execute", count)


class Sees:
    """A classifier that finds pneumonia in anything; the network's time is no concern here."""

    version = "test 1"
    digest = "0" * 64
    engine = SimpleNamespace(name="none")
    thresholds: ClassVar = {"pneumonia": 0.5}

    def prepare(self, _dataset: Any) -> Any:
        return object()

    def infer(self, _prepared: Any) -> Classification:
        found = Finding("pneumonia", "233604007", "SCT", "Pneumonia", 0.9, 0.5)
        placement = Placement(rows=1024, columns=1024, top=0, left=0, scale=2, side=512)
        return Classification((found,), np.ones((1, 14, 14), np.float32), placement)


class Never:
    """No stop."""

    def __bool__(self) -> bool:
        return False


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def test_what_each_stage_costs(storage: Storage, pacs: Pacs, demo_images: list[Path]) -> None:
    peer = PacsSettings(name="main", ae_title="TESTPACS", host="127.0.0.1", port=pacs.port)
    settings = Settings(
        dicom={"bind": "127.0.0.1", "port": 0},
        report={"study_quiet_s": 0, "heat_map": "none"},
        pacs=(peer,),
    )
    listener = Listener(settings, storage.objects, lambda: storage.queue)
    port = listener.start()
    seeing: Any = Sees()
    worker = Worker(settings, storage.objects, storage.database, seeing, "worker-0")
    courier = Courier(peer, "HILUM", storage.database, storage.objects, "delivery")
    never: Any = Never()

    def receive(number: int) -> None:
        image = make_object(demo_images[number], Form(Kind.DX, 12))
        assert send([image], "127.0.0.1", port, "DX1", "HILUM")[0].status == 0x0000

    stages: dict[str, Callable[[int], object]] = {
        "receive": receive,
        "classify": lambda _: worker.step(ahead=False),
        "report": lambda _: worker.step(ahead=False),
        "deliver": lambda _: courier.step(never),
    }
    cost: dict[str, Cost] = {}
    for number in range(2):  # the first delivery also learns what the PACS takes
        for stage, act in stages.items():
            with counted() as cost[stage]:
                act(number)
    courier.end()
    listener.stop(1.0)

    counts = storage.queue.counts()
    assert counts.jobs[JobState.DONE] == counts.deliveries[DeliveryState.STORED] == 2
    assert {stage: one.commits for stage, one in cost.items()} == {
        "receive": 1,
        "classify": 2,  # the claim; the result with the claim of its study
        "report": 1,
        "deliver": 2,  # the claim, and what the PACS answered
    }
    # of each stage, two are the row of the audit trail: its predecessor's hash, and itself
    # and where one falls due, a look each 0.5 or 2 s: reviews, candidates, what waits
    most = {"receive": 5, "classify": 26, "report": 8, "deliver": 6}
    assert {stage: one.statements <= most[stage] for stage, one in cost.items()} == dict.fromkeys(
        most, True
    ), cost


def test_looking_for_work_in_vain_writes_nothing(storage: Storage) -> None:
    classifier: Any = Sees()
    worker = Worker(Settings(), storage.objects, storage.database, classifier, "worker-0")
    with counted() as idle:
        assert not worker.step()
    assert idle == Cost(statements=3, commits=0)  # a review in effect, a study, an image
