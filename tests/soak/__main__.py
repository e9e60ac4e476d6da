"""`make soak`: every fault for as long as it takes, a table for people and files for documents.

Writes build/soak.json, build/soak.md and build/soak.svg. What passed in a run that was broken off
is not run again; `--anew` forgets it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from docs.reliability import faults_table
from tests.bench.__main__ import machine
from tests.soak import plot
from tests.soak.faults import FAULTS
from tests.soak.steps import Step, outcomes, steps, until_deadline

BUILD = Path("build")
FOLDER = BUILD / "soak"
ROWS = FOLDER / "rows.jsonl"
LIMIT_S = 60 * 60.0  # what is left then is for another run


def main(arguments: list[str]) -> int:
    """Run what is not done yet, and put together what was seen."""
    console, started = Console(), time.monotonic()
    if "--anew" in arguments:
        shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    chosen = steps(FOLDER)
    left = [step for step in chosen if not step.done()]
    console.print(f"{len(chosen)} files of tests, {len(chosen) - len(left)} done before")
    failed = [step.file for step, good in until_deadline(left, LIMIT_S) if not good]
    found = gathered(chosen)
    (BUILD / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    (BUILD / "soak.md").write_text(faults_table(found) + "\n")
    if plot.endurance(FOLDER / "samples-endurance.json", BUILD / "soak.svg"):
        console.print(f"drawn in {BUILD / 'soak.svg'}")
    console.print(summary(found))
    minutes = (time.monotonic() - started) / 60
    console.print(
        f"{minutes:.0f} minutes; written to {BUILD / 'soak.json'} and {BUILD / 'soak.md'}"
    )
    if failed:
        console.print(f"[red]failed or not run: {', '.join(failed)}[/red]")
        return 1
    return 0


def gathered(chosen: list[Step]) -> dict[str, Any]:
    """Return what the steps saw: the machine, and each fault with its tests and its figures."""
    ended = [one for step in chosen if step.outcome.exists() for one in outcomes(step.outcome)]
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()] if ROWS.exists() else []
    faults = []
    for fault in FAULTS:
        of_fault = [one for one in ended if any(_is_of(one.test, name) for name in fault.tests)]
        seen = [row for row in rows if row["fault"] == fault.name]
        faults.append({
            "fault": fault.name, "wanted": fault.wanted,
            "tests": sorted({name.partition("::")[0] for name in fault.tests}),
            "passed": sum(one.good and not one.skipped for one in of_fault),
            "failed": sum(not one.good for one in of_fault),
            "seconds": round(sum(one.seconds for one in of_fault), 1),
            "figure": _figure(list({row["test"]: row for row in seen}.values())),
        })  # fmt: skip
    memory_gib = round(psutil.virtual_memory().total / 2**30)
    host = {**machine(), "memory_gib": memory_gib}
    del host["load_before"]
    return {"machine": host, "date": time.strftime("%Y-%m-%d", time.gmtime()), "faults": faults}


def _figure(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return how often the fault was tried in all, and what its worst or longest test saw."""
    if not rows:
        return None
    worst = max(rows, key=lambda row: (not row["good"], row["tried"]))
    return {**{key: worst[key] for key in ("seen", "limit", "good")},
            "tried": sum(row["tried"] for row in rows)}  # fmt: skip


def _is_of(test: str, name: str) -> bool:
    return test == name or test.startswith((f"{name}::", f"{name}["))


def summary(found: dict[str, Any]) -> Table:
    """Return the table for people."""
    table = Table("fault", "tests", "s", "tried", "seen", "limit", "good", show_lines=True)
    for one in found["faults"]:
        figure = one["figure"] or {"tried": "", "seen": "", "limit": one["wanted"], "good": True}
        good = bool(one["passed"]) and not one["failed"] and figure["good"]
        table.add_row(
            one["fault"], f"{one['passed']} of {one['passed'] + one['failed']}",
            f"{one['seconds']:.0f}", str(figure["tried"]), figure["seen"], figure["limit"],
            "yes" if good else "[red]no[/red]",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    sys.exit(main(sys.argv[1:]))
