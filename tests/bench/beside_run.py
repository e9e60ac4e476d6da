"""What a retraining costs the images that come meanwhile: twice the usual wait, at most."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from sqlalchemy import update

from storage.records import StudyState
from storage.runs import Runs
from storage.schedule_records import RunState
from storage.schedules import Schedules
from storage.schema import study
from tests.bench.load import offer
from tests.bench.timing import Measured
from tests.bench.watched import Watched, folder_in_build, radiographs, watched_service
from tests.harness import until
from tests.learning import Hospital, open_hospital

OFFERED = 2.0  # images a second
ROUNDS = 2  # of each in turn, so that a load from elsewhere meets both
IMAGES = 16  # in each round
COPIES = 30  # of the twelve radiographs: work for longer than is measured


def beside_run() -> Measured:
    """In turn: nothing else to do, and a retraining in work, as the scheduler starts it."""
    with folder_in_build() as folder:
        studies = radiographs(folder / "images", 2 * ROUNDS * IMAGES + 4)
        hospital = open_hospital(folder / "service", COPIES)
        hospital.import_all()
        with hospital.database.write() as connection:  # their reports were sent long ago
            connection.execute(update(study).values(state=StudyState.REPORTED))
        waits: dict[str, list[float]] = {"usual": [], "run": []}
        stages: set[str] = set()
        with watched_service(folder) as watched:
            offer(watched, OFFERED, [studies.pop() for _ in range(4)])
            for _ in range(ROUNDS):
                waits["usual"] += offer(watched, OFFERED, _next(studies))
                waits["run"] += _during_a_run(watched, hospital, _next(studies), stages)
        hospital.database.close()
    for name, times in waits.items():
        told = "" if name == "usual" else " during a retraining"
        yield f"acknowledgement to report at 2 images/s{told}, median", _at(times, 0.5), "ms"
        yield f"acknowledgement to report at 2 images/s{told}, p99", _at(times, 0.99), "ms"
    ratio = statistics.median(waits["run"]) / statistics.median(waits["usual"])
    yield "acknowledgement to report during a retraining, median against usual", ratio, "x"
    ratio = _at(waits["run"], 0.99) / _at(waits["usual"], 0.99)
    yield "acknowledgement to report during a retraining, p99 against usual", ratio, "x"


def _during_a_run(
    watched: Watched, hospital: Hospital, studies: list[list[Path]], stages: set[str]
) -> list[float]:
    """Start a retraining, measure while it works, and cancel it: another goes on from nothing."""
    runs = Runs(hospital.database)
    number = Schedules(hospital.database).run_now("retrain", "bench", time.time())
    until(lambda: runs.show(number).stage, 60, 0.1)
    waits = offer(watched, OFFERED, studies)
    found = runs.show(number)
    assert found.state is RunState.RUNNING, f"the run ended too early: {found.reason}"
    stages.add(found.stage)
    runs.cancel(number, "bench", time.time())
    until(lambda: runs.show(number).state.is_final, 20, 0.1)
    return waits


def _next(studies: list[list[Path]]) -> list[list[Path]]:
    return [studies.pop() for _ in range(IMAGES)]


def _at(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]
