"""An acceptance test's figures as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from classifier.bundle import Interval
from training.acceptance import Figures
from training.acceptance_figures import Measured
from training.gate_picture import DPI

SHARE, OTHER, MARK = "#0072B2", "#D55E00", "#5B6B78"
"""Of Okabe and Ito's palette, told apart by the colour blind."""

Line = tuple[str, Interval | None]


def pictures(found: Sequence[Measured]) -> dict[str, bytes]:
    """PNGs by name: sensitivity and specificity, the same within groups, and kappa."""
    whole = [(_name(one.finding), one.of_model.whole) for one in found if one.of_model]
    groups = [
        (f"{column} {value}", part)
        for one in found[:1]
        if one.of_model
        for column, values in one.of_model.groups.items()
        for value, part in values.items()
    ]
    kappas: list[Line] = []
    for one in found:
        for pair in (*one.between, *one.by_reader):
            who = f"{pair.first} and {pair.second}"
            kappas.append((f"{_name(one.finding)}: {who}", pair.figures.kappa))
    made = {"figures.png": _shares(whole, "Against the readers")}
    if groups:
        made["groups.png"] = _shares(groups, f"{_name(found[0].finding)}, within groups")
    if kappas:
        made["kappa.png"] = _kappas(kappas)
    return made


def _name(finding: str) -> str:
    return "any finding" if finding == "any" else finding.replace("_", " ")


def _shares(rows: Sequence[tuple[str, Figures]], title: str) -> bytes:
    figure = Figure(figsize=(9.5, 1.4 + 0.36 * max(1, len(rows))), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _lines(left, [(name, one.sensitivity) for name, one in rows], SHARE)
    _lines(right, [(name, one.specificity) for name, one in rows], OTHER)
    left.set_xlabel("sensitivity, 95 % interval", fontsize=9)
    right.set_xlabel("specificity, 95 % interval", fontsize=9)
    for axes in (left, right):
        axes.set_xlim(-0.02, 1.02)
    figure.suptitle(title, fontsize=11)
    return _png(figure)


def _kappas(rows: Sequence[Line]) -> bytes:
    figure = Figure(figsize=(9.5, 1.4 + 0.3 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    _lines(axes, rows, MARK)
    axes.axvline(0, color="#999999", linewidth=1)
    axes.set_xlim(min([0.0, *(one.low for _, one in rows if one)]) - 0.02, 1.02)
    axes.set_xlabel("Cohen's kappa, 95 % interval", fontsize=9)
    return _png(figure)


def _lines(axes: Axes, rows: Sequence[Line], colour: str) -> None:
    for row, (_, interval) in enumerate(rows):
        if interval is None:
            axes.text(0.5, row, "nothing to measure", fontsize=8, ha="center", va="center")
            continue
        axes.plot([interval.low, interval.high], [row, row], color=colour, linewidth=2)
        axes.plot(interval.value, row, "o", color=colour, markersize=6)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.25)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
