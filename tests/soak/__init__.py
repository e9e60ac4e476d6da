"""`make soak`: faults made to happen for longer than `make test` has time for.

A long test is marked `soak`, has a short form in `make test`, and says what it saw::

    soak.record(soak.KILL, tried=240, seen="0 lost, 0 double", limit="0 lost, 0 double", good=True)

The short form may record as well: tries are added up, and the longest test's figure is shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.soak.faults import *  # noqa: F403 - soak.KILL and its kin
from tests.soak.faults import Fault

ROWS = "HILUM_SOAK_ROWS"
"""The file that rows are added to, named by `make soak`; without it they are only checked."""


@dataclass(frozen=True)
class Row:
    """What a test saw of a fault: how often it was tried, the figure and its limit."""

    fault: str
    test: str
    tried: int
    seen: str
    limit: str
    good: bool


def record(fault: Fault, *, tried: int, seen: str, limit: str, good: bool) -> None:
    """Add a row to those of this run. Raises AssertionError where it is not good."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
    row = Row(fault.name, test, tried, seen, limit, bool(good))
    if file := os.environ.get(ROWS):
        _append(Path(file), json.dumps(asdict(row)))
    assert good, f"{fault.name}: {seen}, wanted {limit}"


def sample(name: str, columns: Sequence[str], values: Sequence[Sequence[float]]) -> None:
    """Keep a series of samples for the picture; the first column is its x axis."""
    if file := os.environ.get(ROWS):
        kept = {"columns": list(columns), "values": [list(one) for one in values]}
        Path(file).with_name(f"samples-{name}.json").write_text(json.dumps(kept))


def _append(file: Path, line: str) -> None:
    """Add a line in one write, so that tests beside each other do not mix theirs."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)
