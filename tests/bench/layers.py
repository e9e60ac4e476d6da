"""Where the time of one int8 pass goes, layer by layer, and how far each is from the peak.

`python -m tests.bench.layers [graph.xml]` prints a table in markdown; without an argument, of the
default bundle's graph. One core, and its peak: no layer waits for another core. Each time is the
least of many runs: what the layer takes undisturbed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import openvino as ov

from classifier.bundle import load_bundle
from classifier.engine import compile_options
from classifier.graph import BLOCK6
from classifier.network import BASE, LAYERS, Architecture
from docs.tables import table
from tests.bench.engine import operations, peak

RUNS = 60
SHOWN_MS = 0.05  # faster ones are summed up


HEAD = ("layer", "kernel", "ms", "GMAC", "of the peak")


def main(arguments: list[str]) -> int:
    """Print the table."""
    print(table(HEAD, rows(*arguments)))
    return 0


def rows(path: str | None = None) -> Iterator[tuple[str, ...]]:
    """Of the default bundle's int8 graph, or of the one given."""
    bundle, core = load_bundle(), ov.Core()
    stored, architecture = bundle.manifest.graphs["int8"], bundle.manifest.architecture
    graph = core.read_model(path) if path else core.read_model(
        bundle.read(stored.xml), bundle.read(stored.bin))  # fmt: skip
    rates = peak(cores=1)
    rate = next((rate for (kind, _), rate in rates.items() if kind == "int8"), None)
    macs, rest, total = dict(_macs(architecture)), 0.0, 0.0
    for name, (kernel, took) in _times(graph, architecture.side).items():
        total += took
        work = macs.get(name.removeprefix("base/"))
        if work is None and took < SHOWN_MS:
            rest += took
            continue
        share = f"{work / took / 1e6 / rate:.0%}" if work and rate else ""
        yield name, kernel, f"{took:.2f}", f"{work / 1e9:.2f}" if work else "", share
    yield "what is under 0.05 ms each", "", f"{rest:.2f}", "", ""
    whole = operations(architecture)
    share = f"{whole / total / 1e6 / rate:.0%}" if rate else ""
    yield "all", "", f"{total:.2f}", f"{whole / 1e9:.2f}", share


def _times(graph: ov.Model, side: int) -> dict[str, tuple[str, float]]:
    """Kernel and least milliseconds of each operation that was run, in order."""
    options = {**compile_options(), "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    compiled = ov.Core().compile_model(graph, "CPU", options)
    request = compiled.create_infer_request()
    image = np.random.default_rng(0).integers(0, 256, (1, side, side), np.uint8)
    found: dict[str, tuple[str, float]] = {}
    for _ in range(RUNS):
        request.infer({"image": image})
        for one in request.get_profiling_info():
            if one.status == one.Status.EXECUTED:
                took = 1000 * one.real_time.total_seconds()
                name = _readable(one)
                found[name] = one.exec_type, min(took, found.get(name, ("", np.inf))[1])
    return found


def _readable(one: Any) -> str:
    """Reorders have long names of all that they stand between."""
    return re.sub(r"^(.{40}).+", r"\1...", one.node_name)


def _macs(a: Architecture) -> Iterator[tuple[str, int]]:
    """Of each convolution of the base, and of all members' block6."""
    channels = 2
    for name, filters in BASE:
        yield name, 9 * channels * filters * (a.side // LAYERS[name][1]) ** 2
        channels = filters
    yield BLOCK6, a.members * 9 * a.tap_filters * a.block6_filters * a.grid**2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
