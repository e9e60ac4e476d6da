"""The steps of `make soak`: one file of tests each, so that a run that was broken off goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

from tests.soak import ROWS
from tests.soak.faults import FAULTS

PYTEST = [sys.executable, "-m", "pytest", "-q"]
STEP_S = 1500.0  # what hangs is ended then


@dataclass(frozen=True)
class Step:
    """Tests of one file, and where their outcome is written."""

    file: str
    tests: tuple[str, ...]
    folder: Path

    @property
    def outcome(self) -> Path:
        return self.folder / f"{self.file.replace('/', '.')}.xml"

    def done(self) -> bool:
        """Whether an earlier run has taken this step to its end, and every test passed."""
        return self.outcome.exists() and all(one.good for one in outcomes(self.outcome))

    def run(self, seconds: float) -> bool:
        """Run the tests, for so long at most; return whether all passed."""
        self.outcome.unlink(missing_ok=True)
        written = self.outcome.with_suffix(".part")
        process = subprocess.Popen(
            [*PYTEST, "-m", "", "-o", "junit_family=xunit1", "--timeout", f"{STEP_S:.0f}",
             f"--junitxml={written}", *self.tests],
            env={**os.environ, ROWS: str(self.folder / "rows.jsonl"), "HILUM_ANY_EXAMPLES": "1"},
            start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(min(seconds, STEP_S))
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                return False
            raise
        if written.exists():
            written.rename(self.outcome)
        return code == 0


@dataclass(frozen=True)
class Outcome:
    """How one test ended."""

    test: str
    good: bool
    skipped: bool
    seconds: float


def outcomes(file: Path) -> Iterator[Outcome]:
    """Read what pytest wrote of a step; the test is named as pytest names it."""
    for case in ElementTree.parse(file).iter("testcase"):
        kinds = {child.tag for child in case}
        yield Outcome(
            f"{case.get('file')}::{case.get('name')}",
            not kinds & {"failure", "error"},
            "skipped" in kinds,
            float(case.get("time") or 0),
        )


def steps(folder: Path) -> list[Step]:
    """Return the faults' tests and everything marked `soak`, by file."""
    named = {test for fault in FAULTS for test in fault.tests}
    # what is part of a file or of a test that a fault names is run with it
    wanted = {
        test for test in named | set(_marked())
        if not {test.partition("::")[0], test.partition("[")[0]} & (named - {test})
    }  # fmt: skip
    return [
        Step(file, tuple(tests), folder)
        for file, tests in groupby(sorted(wanted), key=lambda test: test.partition("::")[0])
    ]


def _marked() -> list[str]:
    """Ask pytest for the tests that are marked `soak`."""
    asked = subprocess.run(
        [*PYTEST, "-m", "soak", "--collect-only", "tests"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    if asked.returncode not in (0, 5):  # 5: there is none
        raise RuntimeError(asked.stdout[-2000:] + asked.stderr[-2000:])
    return [line for line in asked.stdout.splitlines() if line.startswith("tests/")]


def until_deadline(chosen: list[Step], seconds: float) -> Iterator[tuple[Step, bool]]:
    """Run the steps one after another, for so long in all; yield each with whether it passed."""
    deadline = time.monotonic() + seconds
    for step in chosen:
        left = deadline - time.monotonic()
        yield step, left > 0 and step.run(left)
