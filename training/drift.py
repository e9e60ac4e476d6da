"""The audit of a station: how far each measure of its images is from the reference, and its charts.

The charts of the watch answer at once and forget; the audit looks at many images together. PSI is
the population stability index over tenths of the reference: below 0.1 is held to be little, above
0.25 a shift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log, sqrt

from classifier.interval import Interval
from training.charts import Charts, Limits, Normal, limits_for, normal_score

Z = 1.959963984540054
TENTHS = 10


@dataclass(frozen=True, slots=True)
class Shift:
    """A measure: the mean of its normal scores, in deviations of the reference, and its PSI."""

    measure: str
    images: int
    mean: Interval
    psi: float


@dataclass(frozen=True, slots=True)
class Course:
    """A measure's chart over the images: how high it stood, upwards and downwards."""

    measure: str
    up: tuple[float, ...]
    down: tuple[float, ...]


def shifts(normal: Normal, images: Sequence[Mapping[str, float]]) -> tuple[Shift, ...]:
    """Measure every measure that reference and images have, the farthest first."""
    found = []
    for name, quantiles in normal.quantiles.items():
        values = [image[name] for image in images if name in image]
        if len(values) > 1:
            scores = [normal_score(quantiles, value) for value in values]
            found.append(Shift(name, len(values), _mean(scores), psi(quantiles, values)))
    return tuple(sorted(found, key=lambda one: -abs(one.mean.value)))


def courses(
    normal: Normal, images: Sequence[Mapping[str, float]]
) -> tuple[tuple[Course, ...], Limits]:
    """Run the charts over the images once more, from zero."""
    limits, state = limits_for(normal.images, len(normal.quantiles)), Charts()
    ups: dict[str, list[float]] = {name: [] for name in normal.quantiles}
    downs: dict[str, list[float]] = {name: [] for name in normal.quantiles}
    for image in images:
        state, _ = state.seen(normal, image, limits)
        for name in normal.quantiles:
            up, down = state.sums.get(name, (0.0, 0.0))
            ups[name].append(up)
            downs[name].append(down)
    found = tuple(Course(name, tuple(ups[name]), tuple(downs[name])) for name in normal.quantiles)
    return found, limits


def psi(quantiles: Sequence[float], values: Sequence[float]) -> float:
    """The population stability index, with half a value added to each part.

    Parts that the reference does not tell apart, as of a measure with few values, are one.
    """
    step = (len(quantiles) - 1) / TENTHS
    cuts = sorted({quantiles[round(part * step)] for part in range(1, TENTHS)})
    bounds = [float("-inf"), *cuts, float("inf")]
    expected = [_between(quantiles, low, high) for low, high in pairwise(bounds)]
    seen = [_between(values, low, high) for low, high in pairwise(bounds)]
    total = 0.0
    for wanted, found in zip(expected, seen, strict=True):
        p = (wanted + 0.5) / (len(quantiles) + 0.5 * len(seen))
        q = (found + 0.5) / (len(values) + 0.5 * len(seen))
        total += (q - p) * log(q / p)
    return total


def _between(values: Sequence[float], low: float, high: float) -> int:
    return sum(low < value <= high for value in values)


def _mean(scores: Sequence[float]) -> Interval:
    mean = sum(scores) / len(scores)
    spread = sqrt(sum((one - mean) ** 2 for one in scores) / (len(scores) - 1))
    half = Z * spread / sqrt(len(scores))
    return Interval(mean, mean - half, mean + half)
