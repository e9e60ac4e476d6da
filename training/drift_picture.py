"""A station's audit as a picture: how far its measures are from the reference, and its charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.charts import Limits
from training.drift import Course, Shift

FAR, NEAR, LIMIT = "#D55E00", "#0072B2", "#5B6B78"
"""Of Okabe and Ito's palette, told apart by the colour blind."""

MATTERS = 0.5
"""Deviations of the reference from which on a shift is drawn as far."""

SHOWN = 4
"""Charts that are drawn: the highest."""

DPI = 110


def picture(
    title: str,
    shifts: Sequence[Shift],
    courses: Sequence[Course],
    limits: Limits,
    names: Mapping[str, str],
) -> bytes:
    """PNG: on the left the shift of each measure, on the right the highest charts over time."""
    figure = Figure(figsize=(11, 1.8 + 0.3 * max(8, len(shifts))), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.2))
    _draw_shifts(left, shifts, names)
    _draw_courses(right, courses, limits, names)
    figure.suptitle(title, fontsize=11)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _draw_shifts(axes: Axes, shifts: Sequence[Shift], names: Mapping[str, str]) -> None:
    for row, one in enumerate(shifts):
        colour = FAR if abs(one.mean.value) >= MATTERS else NEAR
        axes.plot([one.mean.low, one.mean.high], [row, row], color=colour, linewidth=2)
        axes.plot(one.mean.value, row, "o", color=colour, markersize=6)
    axes.axvline(0, color="#999999", linewidth=1)
    told = [f"{_name(one.measure, names)} (PSI {one.psi:.2f})" for one in shifts]
    axes.set_yticks(range(len(shifts)), told, fontsize=9)
    axes.set_ylim(len(shifts) - 0.4, -0.6)
    axes.set_xlabel("Mean shift in deviations of the reference, 95 % interval", fontsize=9)
    axes.grid(axis="x", alpha=0.25)


def _draw_courses(
    axes: Axes, courses: Sequence[Course], limits: Limits, names: Mapping[str, str]
) -> None:
    def highest(one: Course) -> float:
        return max((*one.up, *one.down), default=0.0)

    for one in sorted(courses, key=highest, reverse=True)[:SHOWN]:
        (line,) = axes.plot(one.up, linewidth=1.4, label=_name(one.measure, names))
        axes.plot([-down for down in one.down], linewidth=1.4, color=line.get_color())
    for side in (1, -1):
        axes.axhline(side * limits.limit, color=LIMIT, linestyle="--", linewidth=1)
    axes.axhline(0, color="#999999", linewidth=1)
    axes.set_xlabel("Images, the newest on the right; dashed: the limits", fontsize=9)
    axes.set_ylabel("CUSUM chart, higher above and lower below zero", fontsize=9)
    axes.legend(fontsize=8, loc="upper left")
    axes.grid(alpha=0.25)


def _name(measure: str, names: Mapping[str, str]) -> str:
    return names.get(measure, measure.replace("_", " "))
