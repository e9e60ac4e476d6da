"""A storage with what serves, a candidate that the gate has passed, and images, for trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from daemon.settings import Settings, load
from daemon.trials import Conductor
from storage.bundles import BundleFacts, Model
from storage.database import Database
from storage.ledger import Ledger
from storage.queue import Queue
from storage.runs import Runs
from storage.schedule_records import RunState
from storage.schedules import Schedules
from storage.shadow import Shadow
from storage.shadow_records import Decision, ShadowState
from storage.trials import Trials
from tests.harness import write_config
from tests.storing import analysed, arrival, sha256

OWN = {"pneumonia": 0.5, "pleural_effusion": 0.5}
SERVING, CANDIDATE = "chest 1", "chest 2"  # the first is what `analysed` is of


def facts(version: str) -> BundleFacts:
    return BundleFacts(version, sha256(version), version.replace(" ", "-"), "{}", OWN)


def registered(database: Database) -> tuple[Model, Model]:
    """Return what serves, and a candidate."""
    ledger = Ledger(database)
    serving, candidate = (ledger.register(facts(one), 1) for one in (SERVING, CANDIDATE))
    ledger.configure(serving.digest, 2)
    return serving, candidate


def judge(database: Database, candidate: str, parent: str, *, passed: bool = True) -> int:
    """Have a run that made the candidate end with the gate's verdict."""
    number = Schedules(database).run_now("recalibrate", "ada", 3)
    claim = Runs(database).claim(number, "test", 60, 4)
    assert claim is not None
    reasons = [] if passed else [{"kind": "worse", "about": "pneumonia", "text": "It is worse."}]
    found: dict[str, Any] = {
        "bundle": CANDIDATE, "digest": candidate, "parent": SERVING,
        "origin": {"parent": parent}, "pictures": [],
        "verdict": {"passed": passed, "images": 40, "patients": 40, "gains": ["Brier"],
                    "remarks": [], "reasons": reasons},
    }  # fmt: skip
    Runs(database).end(claim, RunState.DONE, 5, found, candidate=candidate)
    return number


def take(database: Database, number: int, probability: float = 0.75) -> None:
    """Take an image through the queue; what serves has analysed it."""
    queue = Queue(database)
    queue.accept(arrival(f"1.{number}", received_at=10))
    job = queue.claim("w1", 60, 10)
    assert job is not None
    queue.finish(job, analysed(probability), f"9.{number}", 0, 10)


def try_all(database: Database, probability: float = 0.8, threshold: float = 0.5) -> int:
    """Answer for the candidate on whatever waits for it; return how many images did."""
    shadow, running = Shadow(database), Trials(database).open()
    count = 0
    while running is not None and (job := shadow.claim(running, 20)) is not None:
        decisions = [
            Decision(name, probability, threshold, *said) for name, said in job.serving.items()
        ]
        shadow.finish(job, ShadowState.ANALYSED, 20, decisions)
        count += 1
    return count


def settings(folder: Path, **training: Any) -> Settings:
    return load(write_config(folder, None, training=training))


def conductor(database: Database, folder: Path, now: float = 100, **training: Any) -> Conductor:
    """Return what begins and ends trials, by the clock at `now`."""
    return Conductor(settings(folder, **training), database, lambda: now)
