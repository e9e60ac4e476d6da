"""`make bench`: every figure in one run, as a table for people and build/bench.json for programs.

Times move from run to run and from machine to machine; only ratios within one run are compared.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench import beside_run, claim, engine, layers, load, pixels, plot, service, training

OUT = Path("build") / "bench.json"
PICTURE = Path("build") / "cost-against-load.svg"


@dataclass(frozen=True)
class Figure:
    """One measured number, and what it should be."""

    name: str
    value: float
    unit: str
    target: float | None = None
    higher_is_better: bool = True

    @property
    def meets(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        if self.higher_is_better:
            return self.value >= self.target
        return self.value <= self.target


Measure = Callable[[], Iterator[tuple[str, float, str]]]
GROUPS: dict[str, Measure] = {
    "engine": engine.engine,
    "pixels": pixels.pixels,
    "receiving": service.receiving,
    "whole way": service.whole_way,
    "start": service.start,
    "claim": claim.queue,
    "load": load.load,
    "beside a run": beside_run.beside_run,
    "training": training.training,
}
TARGETS: dict[str, tuple[float, bool]] = {
    "classify against Keras predict": (8.0, True),
    "int8 forward against its roofline": (1.25, False),
    "int8 forward by VNNI alone against its roofline": (1.25, False),
    "the heat maps' share of a pass": (5.0, False),
    "2500 x 2048 x 16 bit to network input": (15.0, False),
    "JPEG 2000 to network input, full decode against reduced": (3.0, True),
    "receiving against storescp": (1.0, True),
    "receiving against Orthanc": (2.0, True),
    "whole way, 10 MB each, synced, sustained": (10.0, True),
    "acknowledgement to report, median": (300.0, False),
    "acknowledgement to report, p99": (1000.0, False),
    "first association, new storage": (2.0, False),
    "memory under load, all processes": (700.0, False),
    "acknowledgement to report during a retraining, p99 against usual": (2.0, False),
    "claim at a million rows against a thousand": (1.5, False),
    "an epoch on cached features against uncached": (20.0, True),
}

ONLY_SOMEWHERE = {"int8 forward by VNNI alone against its roofline"}
"""Measured only where the processor has AMX to be taken away."""


def figures(chosen: list[str]) -> Iterator[Figure]:
    """Measure every group, or those chosen, one after another."""
    for group, measure in GROUPS.items():
        if chosen and group not in chosen:
            continue
        try:
            for name, value, unit in measure():
                target, higher = TARGETS.get(name, (None, True))
                yield Figure(name, value, unit, target, higher)
        except (AssertionError, OSError, subprocess.SubprocessError):
            # the other groups are worth having; what is missing is named at the end
            traceback.print_exc()


def machine() -> dict[str, object]:
    """Return what was measured on."""
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor(),
    )  # fmt: skip
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def main(chosen: list[str]) -> int:
    """Run the bench: all of it, or the groups named."""
    console, host = Console(), machine()
    console.print(f"{host['processor']}, {host['cores']} cores, load {host['load_before']:.1f}")
    table = Table("figure", "value", "unit", "target", "meets")
    measured = []
    for figure in figures(chosen):
        measured.append({**asdict(figure), "meets": figure.meets})
        console.print(f"  {figure.name}: {figure.value:.3g} {figure.unit}", highlight=False)
        sign = "at least" if figure.higher_is_better else "at most"
        target = "" if figure.target is None else f"{sign} {figure.target:g}"
        meets = {True: "yes", False: "[red]no[/red]", None: ""}[figure.meets]
        table.add_row(figure.name, f"{figure.value:.3g}", figure.unit, target, meets)
    console.print(table)
    OUT.parent.mkdir(exist_ok=True)
    found = {"machine": host, "figures": measured}
    if not chosen or "engine" in chosen:
        found["layers"] = list(layers.rows())
    OUT.write_text(json.dumps(found, indent=1))
    console.print(f"written to {OUT}")
    if plot.cost_against_load(measured, PICTURE):
        console.print(f"drawn in {PICTURE}")
    missing = set(TARGETS) - ONLY_SOMEWHERE - {each["name"] for each in measured}
    if missing and not chosen:
        console.print(f"[red]not measured: {', '.join(sorted(missing))}[/red]")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
