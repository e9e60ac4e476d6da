"""Control charts: whether the images or answers of a station have left their reference.

Each measure of an image becomes a normal score by its place among the reference's quantiles, so
that one chart serves them all. Two-sided CUSUM charts (Page, Biometrika 41, 1954) add the scores
up; their limit follows from the false alarms that are allowed, over all charts together, by
Siegmund's approximation (Sequential Analysis, 1985, chapter 2). An image goes to its station's
charts alone, so that the number of stations does not matter.

Nothing here needs more than the language: the process that watches stays small.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import exp, sqrt
from statistics import NormalDist
from typing import Any, Literal

SLACK = 0.5
"""Of the CUSUM, in standard deviations: the best for a shift of one."""

FALSE_ALARMS = 0.5 / 10_000
"""Per image, over all charts together: half of what is promised, as the limit is approximate."""

LARGEST = 3.0
"""A single image's normal score is cut here: one odd image is no drift."""

Direction = Literal["higher", "lower"]
DIRECTIONS: tuple[Direction, Direction] = ("higher", "lower")


@dataclass(frozen=True, slots=True)
class Normal:
    """How measures are distributed where nothing is amiss.

    quantiles: of each measure, evenly spaced from the least value to the greatest.
    """

    images: int
    quantiles: Mapping[str, Sequence[float]]

    def only(self, names: Sequence[str]) -> Normal:
        """Return it without other measures."""
        kept = {name: self.quantiles[name] for name in names if name in self.quantiles}
        return Normal(self.images, kept)


@dataclass(frozen=True, slots=True)
class Left:
    """A measure left its reference. `since`: images since the chart last stood at zero.

    shift: how far it has moved, in standard deviations of the reference.
    """

    measure: str
    direction: Direction
    since: int
    shift: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Of all charts: slack and limit of each, in standard deviations."""

    slack: float
    limit: float


def normal_score(quantiles: Sequence[float], value: float) -> float:
    """Return where a value stands among the reference's, as a standard normal deviate.

    A value that the reference holds often stands in the middle of its place, which makes the
    charts of measures with few values slower and never quicker to alarm.
    """
    last = len(quantiles) - 1
    first, after = bisect_left(quantiles, value), bisect_right(quantiles, value)
    if after - first > 1:
        share = (first + after - 1) / (2 * last)
    elif after == 0:
        share = 0.0
    elif first > last:
        share = 1.0
    elif after > first:  # the value is one of the quantiles
        share = first / last
    else:
        below, above = quantiles[first - 1], quantiles[first]
        share = (first - 1 + (value - below) / (above - below)) / last
    if not 0 < share < 1:
        return LARGEST if share >= 1 else -LARGEST
    return min(LARGEST, max(-LARGEST, _NORMAL.inv_cdf(share)))


_NORMAL = NormalDist()


def limits_for(images: int, charts: int, false_alarms: float = FALSE_ALARMS) -> Limits:
    """Limits that keep all charts together at so many false alarms per image.

    images: of the reference. The slack allows for twice the standard error of its level.
    """
    return _limits(images, max(1, charts), false_alarms)


@cache
def _limits(images: int, charts: int, false_alarms: float) -> Limits:
    wanted = 2 * charts / false_alarms  # images between false alarms of one side of one chart

    def between(limit: float) -> float:
        reach = 2 * SLACK * (limit + 1.166)
        return (exp(reach) - reach - 1) / (2 * SLACK**2)

    low, high = 0.0, 60.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if between(middle) < wanted else (low, middle)
    return Limits(SLACK + 2 / sqrt(images), high)


@dataclass(frozen=True, slots=True)
class Charts:
    """The state of a station's charts, small enough for a row of a table.

    sums, counts: by measure, of both directions: how high the chart stands, and for how many
    images it has been above zero.
    """

    sums: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def seen(
        self, normal: Normal, image: Mapping[str, float], limits: Limits | None = None
    ) -> tuple[Charts, tuple[Left, ...]]:
        """Return the state after one more image, and what left its limits with it.

        A measure that the image or the reference lacks stands still. After it left its limits a
        chart begins anew.
        """
        limits = limits or limits_for(normal.images, len(normal.quantiles))
        sums, counts, left = dict(self.sums), dict(self.counts), []
        for name, quantiles in normal.quantiles.items():
            if name not in image:
                continue
            score = normal_score(quantiles, image[name])
            old, run = sums.get(name, (0.0, 0.0)), counts.get(name, (0, 0))
            new = [max(0.0, old[side] + way * score - limits.slack)
                   for side, way in enumerate((1, -1))]  # fmt: skip
            length = [run[side] + 1 if new[side] > 0 else 0 for side in range(2)]
            for side, direction in enumerate(DIRECTIONS):
                if new[side] > limits.limit:
                    shift = new[side] / length[side] + limits.slack
                    left.append(Left(name, direction, length[side], shift))
                    new[side], length[side] = 0.0, 0
            sums[name], counts[name] = (new[0], new[1]), (length[0], length[1])
        return Charts(sums, counts), tuple(left)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it; `from_json` reads it back."""
        return {"sums": dict(self.sums), "counts": dict(self.counts)}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Charts:
        """Read what `as_json` gave."""
        sums = {name: (float(up), float(down)) for name, (up, down) in told["sums"].items()}
        counts = {name: (int(up), int(down)) for name, (up, down) in told["counts"].items()}
        return cls(sums, counts)


POINTS = 41
"""Quantiles that a reference holds of each measure."""

MIN_IMAGES = 200
"""Of a reference; with fewer its own error would be taken for drift."""


def normal_of(images: Sequence[Mapping[str, float]]) -> Normal:
    """Return the reference of images that nothing is amiss with.

    A measure that half of them lack is left out. The caller sees to it that there are at least
    `MIN_IMAGES`.
    """
    columns: dict[str, list[float]] = {}
    for image in images:
        for name, value in image.items():
            columns.setdefault(name, []).append(value)
    kept = {name: values for name, values in columns.items() if 2 * len(values) > len(images)}
    return Normal(len(images), {name: _quantiles(values) for name, values in kept.items()})


def _quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """Linear between the ordered values, as numpy's default."""
    ordered, found = sorted(values), []
    for point in range(POINTS):
        place = point * (len(ordered) - 1) / (POINTS - 1)
        low = min(int(place), len(ordered) - 2)
        found.append(ordered[low] + (place - low) * (ordered[low + 1] - ordered[low]))
    return tuple(found)
