"""The picture of memory and file descriptors over the endurance test."""

from __future__ import annotations

import json
from pathlib import Path

_PANELS = {
    "memory_mib": ("the listener's memory", "MiB"),
    "descriptors": ("its open file descriptors", ""),
}


def endurance(samples: Path, path: Path) -> bool:
    """Draw a panel for each column of the samples; return whether there were any."""
    if not samples.exists():
        return False
    from matplotlib.figure import Figure

    kept = json.loads(samples.read_text())
    columns = dict(zip(kept["columns"], zip(*kept["values"], strict=True), strict=True))
    drawn = Figure(figsize=(10, 3.2), layout="constrained")
    panels = drawn.subplots(1, len(_PANELS))
    for axes, (column, (title, unit)) in zip(panels, _PANELS.items(), strict=True):
        axes.plot(columns["connections"], columns[column], color="#0b6e8f")
        axes.set(title=title, xlabel="associations and connections", ylabel=unit, ylim=(0, None))
        axes.margins(y=0.15)
        axes.grid(visible=True, color="#e4e9ed")
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(exist_ok=True)
    drawn.savefig(path, metadata={"Date": None})
    return True
