"""`make soak` counts every test of a fault, and goes on where it was broken off."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from docs.reliability import faults_table
from tests import soak
from tests.soak import __main__ as run
from tests.soak.faults import FAULTS, Fault
from tests.soak.steps import Step

ROOT = Path(__file__).parents[2]
PROVED = Fault("a fault", "0 lost", ("test_it.py::test_one",))
TESTS = """
import pytest
from tests import soak
from tests.soak.faults import Fault

@pytest.mark.soak
@pytest.mark.parametrize("tried", [3, 40])
def test_one(tried):
    fault = Fault("a fault", "0 lost")
    soak.record(fault, tried=tried, seen=f"0 of {tried} lost", limit="0 lost", good={good})
"""


@pytest.mark.parametrize("test", sorted({test for fault in FAULTS for test in fault.tests}))
def test_a_test_that_a_fault_names_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"def {name}(" in (ROOT / file).read_text() if name else (ROOT / file).is_file()


def step(folder: Path, good: bool) -> Step:
    file = folder / "test_it.py"
    file.write_text(TESTS.replace("{good}", str(good)))
    return Step("test_it.py", (str(file),), folder)


def seen(monkeypatch: pytest.MonkeyPatch, folder: Path, one: Step) -> dict[str, object]:
    """What is put together of the step, whose tests pytest names by their folder."""
    text = one.outcome.read_text()
    one.outcome.write_text(re.sub(r'file="[^"]*test_it\.py', 'file="test_it.py', text))
    monkeypatch.setattr(run, "FAULTS", (PROVED,))
    monkeypatch.setattr(run, "ROWS", folder / "rows.jsonl")
    return run.gathered([one])


def test_tries_are_added_up_and_the_longest_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = step(tmp_path, good=True)
    assert not one.done()
    assert one.run(60)
    assert one.done()
    found = seen(monkeypatch, tmp_path, one)
    text = faults_table(json.loads(json.dumps(found)))
    assert "0 of 40 lost (43 tried; 2 tests passed)" in text, text


def test_what_failed_is_said_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = step(tmp_path, good=False)
    assert not one.run(60)
    assert not one.done()
    assert "**2 of 2 tests failed**" in faults_table(seen(monkeypatch, tmp_path, one))
    assert step(tmp_path, good=True).run(60)
    assert one.done()


def test_what_hangs_is_ended_and_not_done(tmp_path: Path) -> None:
    one = step(tmp_path, good=True)
    (tmp_path / "test_it.py").write_text("import time\ndef test_one():\n    time.sleep(60)\n")
    assert not one.run(4)
    assert not one.done()


def test_a_figure_that_is_not_good_fails_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(soak.ROWS, raising=False)
    with pytest.raises(AssertionError, match="a fault: 2 lost, wanted 0 lost"):
        soak.record(PROVED, tried=5, seen="2 lost", limit="0 lost", good=False)


def test_a_fault_without_a_test_is_not_called_good() -> None:
    found = {
        "machine": {"processor": "x", "cores": 2, "memory_gib": 8}, "date": "2026-01-01",
        "faults": [{"fault": "f", "wanted": "w", "tests": [], "passed": 0, "failed": 0,
                    "seconds": 0, "figure": None}],
    }  # fmt: skip
    assert "**not run**" in faults_table(found)
