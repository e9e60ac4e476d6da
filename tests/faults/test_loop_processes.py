"""kill -9 of each process of the loop, one after the other; the end is the same."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from daemon.shelf import Shelf
from storage.alarms import Alarms
from storage.bundles import Model
from storage.ledger import Ledger
from storage.shadow import Shadow
from storage.shadow_records import ShadowState, TrialState
from storage.trials import Trials
from tests.harness import Pacs, Service, running, until, write_config
from tests.loop import Loop, small_bundle
from tests.trying import judge

IMAGES = 10

pytestmark = pytest.mark.slow


@pytest.fixture
def loop(tmp_path: Path, pacs: Pacs) -> Iterator[Loop]:
    config = write_config(
        tmp_path, pacs.port,
        report={"heat_map": "none"},
        classifier={"bundle": str(small_bundle(tmp_path / "first", "small-1")), "engine": "f32"},
        training={"promote": "after_shadow", "shadow_images": IMAGES},
    )  # fmt: skip
    service = Service(tmp_path, config)
    with running(service):
        yield Loop(service, pacs)


def process(service: Service, name: str) -> psutil.Process | None:
    """The process of that role, as the service has it now."""
    assert service.process is not None
    for one in psutil.Process(service.process.pid).children():
        if one.name() == f"hilum-{name}":
            return one
    return None


def candidate(loop: Loop, source: Path) -> Model:
    """Register a bundle, and have it passed against what serves."""
    database = loop.database()
    ledger = Ledger(database)
    serving = ledger.serving()
    assert serving is not None
    made = Shelf(loop.service.folder / "root").take(source, ledger, time.time(), "test")
    judge(database, made.digest, serving.model.digest)
    database.close()
    return made


@pytest.mark.timeout(900)
def test_a_trial_and_a_promotion_outlive_every_process(loop: Loop, tmp_path: Path) -> None:
    service, database = loop.service, loop.database()
    trials, shadow = Trials(database), Shadow(database)
    made = candidate(loop, small_bundle(tmp_path / "second", "small-2"))

    def done() -> int:
        return trials.of(made.digest)[0].done

    assert service.saw("shadow.started", 20)["model"] == made.version
    service.saw("shadow.ready", 120)
    running_shadow = process(service, "shadow")
    assert running_shadow is not None
    assert (running_shadow.nice(), os.sched_getscheduler(running_shadow.pid)) == (
        19, os.SCHED_IDLE,
    )  # fmt: skip
    print(f"shadow process: {running_shadow.memory_full_info().uss / 1e6:.0f} MB of its own")

    # in the midst of an image
    running_shadow.suspend()
    loop.send(4)
    running_shadow.resume()
    until(lambda: done() >= 1, 240, 0.002)
    running_shadow.kill()
    service.saw("process.died", 20)
    until(lambda: done() == 4, 240)

    # the scheduler, and then the whole service
    scheduler = process(service, "scheduler")
    assert scheduler is not None
    scheduler.kill()
    loop.send(IMAGES - 5)
    service.kill()
    service.start()
    until(lambda: done() == IMAGES - 1, 240)
    assert trials.open() is not None

    # the worker, as soon as it is to switch
    loop.send(1)
    until(lambda: trials.open() is None, 240, 0.002)
    worker = process(service, "worker-0")
    assert worker is not None
    worker.kill()
    service.saw("worker.ready", 60, count=2)
    (trial,) = trials.of(made.digest)
    assert (trial.state, trial.done) == (TrialState.PROMOTED, IMAGES), trial.reason
    assert loop.versions(loop.send(1)) == {made.version}
    until(lambda: process(service, "shadow") is None, 20)

    compared = shadow.compared(trial.id)
    assert [one.state for one in compared] == [ShadowState.ANALYSED] * IMAGES
    assert len({one.instance_id for one in compared}) == IMAGES
    assert [line.deed for line in Ledger(database).history()] == ["promoted", "configured"]
    assert len(loop.pacs.stored) == len(loop.sent) == IMAGES + 1, "one report of each"
    database.close()


def test_a_damaged_candidate_ends_its_trial_with_an_alarm_and_never_serves(
    loop: Loop, tmp_path: Path
) -> None:
    service, database = loop.service, loop.database()
    ledger = Ledger(database)
    source = small_bundle(tmp_path / "second", "small-2")
    root = service.folder / "root"
    damaged = Shelf(root).take(source, ledger, time.time(), "test")
    weights = root / "models" / damaged.folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    serving = ledger.serving()
    assert serving is not None
    judge(database, damaged.digest, serving.model.digest)
    service.saw("shadow.started", 20)
    until(lambda: Trials(database).open() is None, 120)
    (trial,) = Trials(database).of(damaged.digest)
    assert (trial.state, trial.ended_by) == (TrialState.FAILED, "shadow")
    (alarm,) = Alarms(database).open()
    assert (alarm.kind, alarm.subject) == ("candidate", damaged.version)
    told = service.hilum("model", "shadow", "show", damaged.version, "--json")
    assert json.loads(told.stdout)["trial"]["state"] == "failed"
    again = service.hilum("model", "shadow", "start", damaged.version)
    assert again.returncode == 1
    assert "was refused" in again.stderr
    assert len(loop.versions(loop.send(1))) == 1
    assert not [one for one in service.events("process.died") if one["process"] != "shadow"]
    database.close()


def test_a_stop_ends_the_process_and_leaves_what_was_found(loop: Loop, tmp_path: Path) -> None:
    service = loop.service
    made = candidate(loop, small_bundle(tmp_path / "second", "small-2"))
    service.saw("shadow.ready", 120)
    loop.send(1)
    until(lambda: (one := process(service, "shadow")) and one.status() == psutil.STATUS_SLEEPING)
    done = service.hilum("model", "shadow", "stop", made.version, "--reason", "the wrong one")
    assert done.returncode == 0, done.stderr
    until(lambda: process(service, "shadow") is None, 20)
    shown = service.hilum("model", "shadow", "show", made.version)
    assert "stopped" in shown.stdout
    assert "the wrong one" in shown.stdout
    assert not service.events("process.died")
    os.kill(service.process.pid if service.process else 0, signal.SIGTERM)
    assert service.process is not None
    assert service.process.wait(20) == 0
