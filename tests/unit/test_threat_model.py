"""The threat model claims no defence without a test, and each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "threat-model.md").read_text()
NAMED = re.compile(r"((?:unit|integration|faults|acceptance|properties)/\w+\.py)?::(\w+)")


def test_each_test_that_it_names_is_there() -> None:
    found = 0
    for line in TEXT.splitlines():
        file = ""
        for named, test in NAMED.findall(line):
            file = named or file  # "::test" is in the file before it
            assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file}::{test}"
            found += 1
    assert found > 25


def test_each_defence_names_a_test_and_it_is_short() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line]
    for line in rows:
        assert "::test_" in line or line == "| attack | defence | test |", line
    assert len(TEXT.splitlines()) <= 120
