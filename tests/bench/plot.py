"""The picture of cost against load, from the figures of `tests.bench.load`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_FIGURE = re.compile(r"(?P<what>.+) at (?P<offered>[0-9.]+) images/s(?: offered)?")
_PANELS = {
    "done": ("images per second done", "images/s"),
    "CPU for each": ("processor time for each image", "ms"),
    "acknowledgement to report": ("acknowledgement to report, median", "ms"),
}


def cost_against_load(figures: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw one panel for each kind of figure; return whether there was anything to draw."""
    from matplotlib.figure import Figure

    series: dict[str, list[tuple[float, float]]] = {what: [] for what in _PANELS}
    for figure in figures:
        found = _FIGURE.fullmatch(figure["name"])
        if found and found["what"] in series:
            series[found["what"]].append((float(found["offered"]), figure["value"]))
    if not all(series.values()):
        return False
    drawn = Figure(figsize=(10, 3.2), layout="constrained")
    for axes, (what, (title, unit)) in zip(
        drawn.subplots(1, len(_PANELS)), _PANELS.items(), strict=True
    ):
        points = sorted(series[what])
        axes.plot(*zip(*points, strict=True), marker="o", color="#0b6e8f")
        for x, y in points:
            axes.annotate(f"{y:.3g}", (x, y), textcoords="offset points", xytext=(0, 7),
                          ha="center", fontsize=8)  # fmt: skip
        axes.set(title=title, xlabel="images/s offered", ylabel=unit, ylim=(0, None))
        axes.margins(y=0.15)
        axes.grid(visible=True, color="#e4e9ed")
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    drawn.savefig(path, metadata={"Date": None})
    return True
