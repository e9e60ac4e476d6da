"""What a run cannot be made of has an answer in numbers: no reviews, three, or all of one class."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from storage.holdout import Holdouts
from storage.labelled import Labelled, ReportLabel
from storage.ledger import Ledger
from storage.runs import Runs
from storage.schedule_records import Run, RunState
from storage.schedules import Schedules
from tests.harness import hilum
from tests.learning import NAMES, Hospital, open_hospital
from tests.loop import small_bundle

pytestmark = pytest.mark.slow


def ran(hospital: Hospital) -> Run:
    number = Schedules(hospital.database).run_now("recalibrate", "ada", time.time())
    done = hilum("run", str(number), "--config", str(hospital.config))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return Runs(hospital.database).show(number)


def say(hospital: Hospital, studies: range, *, present: bool) -> None:
    said = [ReportLabel(f"A{number}", name, present) for number in studies for name in NAMES]
    Labelled(hospital.database).import_reports(said, "ada", 10.0)


def test_few_reviews_and_reviews_of_one_class_are_refused_in_numbers(tmp_path: Path) -> None:
    hospital = open_hospital(tmp_path, 7, small_bundle(tmp_path / "bundle"))
    nothing = ran(hospital)
    assert nothing.state is RunState.REFUSED
    assert "No reviewed image can be learnt from" in str(nothing.reason)

    say(hospital, range(3), present=True)
    three = ran(hospital)
    assert three.state is RunState.REFUSED
    assert "3 labelled images" in str(three.reason)

    say(hospital, range(hospital.studies), present=True)
    alike = ran(hospital)
    assert alike.state is RunState.REFUSED
    assert "pneumonia" in str(alike.reason)
    assert "84 labelled images" in str(alike.reason)
    print(alike.reason)

    assert len(Ledger(hospital.database).models()) == 1
    assert not Holdouts(hospital.database).trained(), "nobody counts as learnt from"
    hospital.database.close()
