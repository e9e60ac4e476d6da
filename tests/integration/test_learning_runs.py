"""Runs that learn and measure, on stored radiographs, through the real command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.holdout import Holdouts
from storage.ledger import Ledger
from storage.runs import Runs
from storage.schedule_records import Run, RunState
from storage.schedules import Schedules
from tests.harness import hilum, until
from tests.learning import Hospital, open_hospital, stripped

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Hospital:
    """96 patients, of whom reports say what they have."""
    made = open_hospital(tmp_path_factory.mktemp("hospital"), 8)
    made.import_all()
    return made


def ran(hospital: Hospital, kind: str) -> Run:
    """Ask for a run, and have its process do it."""
    number = Schedules(hospital.database).run_now(kind, "ada", time.time())
    done = hilum("run", str(number), "--config", str(hospital.config))
    assert done.returncode == 0, done.stderr
    return Runs(hospital.database).show(number)


def command_of(hospital: Hospital, number: int) -> list[str]:
    command = [sys.executable, "-m", "daemon", "run", str(number)]
    return [*command, "--config", str(hospital.config)]


def killed(hospital: Hospital, number: int, when: Callable[[], object]) -> Run:
    """Start a run's process and kill it then; the run may start again at once."""
    runs = Runs(hospital.database)
    with subprocess.Popen(command_of(hospital, number)) as process:
        until(when, 150)
        process.kill()
    assert runs.put_back(time.time() + 60) == (number,)
    with hospital.database.write() as connection:
        connection.exec_driver_sql("UPDATE run SET not_before = 0")  # the time brought forward
    return runs.show(number)


@pytest.mark.timeout(300)
def test_a_recalibration_ends_in_a_candidate_with_a_verdict_that_does_not_serve(
    hospital: Hospital,
) -> None:
    """kill -9 between the two: what was made is judged, and not made again."""
    ledger = Ledger(hospital.database)
    before = ledger.serving()
    assert before is not None
    held = {one for one, out in Holdouts(hospital.database).members().items() if out}
    assert 10 < len(held) < 60

    number = Schedules(hospital.database).run_now("recalibrate", "ada", time.time())
    torn = killed(hospital, number, lambda: Runs(hospital.database).show(number).candidate)
    done = hilum("run", str(torn.id), "--config", str(hospital.config))
    assert done.returncode == 0, done.stderr
    run = Runs(hospital.database).show(torn.id)
    assert run.state is RunState.DONE, run.reason
    assert (run.candidate, run.attempts) == (torn.candidate, 2)
    assert len(ledger.models()) == 2
    assert run.outcome is not None
    found: Any = run.outcome
    assert found["cases"]["used"] + found["cases"]["held_out"] == 96
    assert found["cases"]["held_out"] == len(held)
    assert found["verdict"]["images"] == len(held)
    assert isinstance(found["verdict"]["passed"], bool)
    texts = [reason["text"] for reason in found["verdict"]["reasons"]]
    assert any("at least 10 of each are needed" in text for text in texts)
    picture = hospital.settings.storage.root / "runs" / str(run.id) / "gate.png"
    assert picture.read_bytes()[:4] == b"\x89PNG"

    assert run.candidate is not None
    candidate = ledger.find(run.candidate)
    card = json.loads(candidate.card)
    assert card["recalibration"]["parent"] == before.model.digest
    assert {gain["method"] for gain in card["recalibration"]["findings"].values()} == {"anchored"}
    serving = ledger.serving()
    assert serving is not None
    assert serving.model.digest == before.model.digest
    assert not Holdouts(hospital.database).trained() & held
    assert 0 < run.done == run.total

    again = ran(hospital, "recalibrate")
    assert again.state is RunState.REFUSED
    assert "no new reviews" in str(again.reason)


def test_what_serves_is_measured_on_patients_whom_nothing_was_learnt_from(
    hospital: Hospital,
) -> None:
    run = ran(hospital, "evaluate")
    assert run.state is RunState.DONE, run.reason
    found: Any = run.outcome
    assert found["figures"]["images"] + found["left_out_as_learnt_from"] == 96
    assert found["figures"]["macro_auc"]["low"] <= found["figures"]["macro_auc"]["value"]
    folder = hospital.settings.storage.root / "runs" / str(run.id)
    assert {"roc.png", "reliability.png"} <= set(found["pictures"])
    assert all((folder / name).read_bytes()[:4] == b"\x89PNG" for name in found["pictures"])


def test_a_bundle_without_a_replay_is_not_retrained(tmp_path: Path) -> None:
    small = open_hospital(tmp_path, 1, stripped(tmp_path / "bundle", replay=False))
    small.import_all()
    run = ran(small, "retrain")
    assert run.state is RunState.REFUSED
    assert "holds no replay" in str(run.reason)
    small.database.close()


@pytest.mark.timeout(300)
def test_a_killed_retraining_goes_on_from_its_features(tmp_path: Path) -> None:
    gate = {"gate_finding_margin": 0.1, "gate_min_cases": 5}
    bundle = stripped(tmp_path / "bundle", replay=True)
    made = open_hospital(tmp_path, 10, bundle, training=gate)
    made.import_all()
    runs = Runs(made.database)
    number = Schedules(made.database).run_now("retrain", "ada", time.time())

    def fits() -> bool:
        one = runs.show(number)
        return one.state is RunState.RUNNING and one.stage == "fit"

    torn = killed(made, number, fits)
    learnt = sum(not held for held in Holdouts(made.database).members().values())
    folder = made.settings.storage.root / "runs" / str(number) / "features"
    assert list(folder.rglob("*.f16"))
    told: set[tuple[str, int]] = set()

    def fits_again() -> bool:
        one = runs.show(number)
        told.add((one.stage, one.done))
        return fits()

    with subprocess.Popen(command_of(made, number)) as process:
        until(fits_again, 100)
        # Computed again they would take as long as the first time, with progress every 2 s
        assert not [done for stage, done in told if stage == "features" and 0 < done < learnt]
        assert process.wait(150) == 0
    run = runs.show(number)
    assert (run.state, run.attempts) == (RunState.DONE, torn.attempts + 1), run.reason
    found: Any = run.outcome
    card = json.loads(Ledger(made.database).find(str(run.candidate)).card)
    assert card["retraining"]["images"] == found["cases"]["used"]
    assert card["retraining"]["replayed"] > 1000
    rule = found["verdict"]["rule"]
    assert (rule["finding_margin"], rule["min_cases"], rule["macro_margin"]) == (0.1, 5, 0.02)
    assert found["verdict"]["images"] == found["cases"]["held_out"]
    assert not folder.exists(), "what a run needs no more is gone"
    made.database.close()


def test_three_reviews_and_reviews_of_one_class_are_refused_with_numbers(tmp_path: Path) -> None:
    small = open_hospital(tmp_path, 1)
    small.import_all()
    run = ran(small, "recalibrate")
    assert run.state is RunState.REFUSED
    assert "at least 50 usable images" in str(run.reason)
    assert "12 labelled images" in str(run.reason)
    assert not Holdouts(small.database).trained()
    small.database.close()
