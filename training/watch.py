"""Whether images or answers of a station have drifted from the reference: control charts.

Each measure of an image becomes a normal score by its place among the reference's quantiles, so
that one chart serves them all. Two-sided CUSUM charts (Page, Biometrika 41, 1954) add the scores
up; their limit follows from the false alarms that are allowed, over all charts together, by
Siegmund's approximation (Sequential Analysis, 1985, chapter 2). An image goes to its station's
charts alone, so that the number of stations does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import exp, log, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri  # type: ignore[import-untyped]

from classifier.bundle import Reference
from training.errors import TooFewCases

POINTS = 41
"""Quantiles that a reference holds of each measure."""

MIN_IMAGES = 200
"""Of a reference; with fewer its own error would be taken for drift."""

SLACK = 0.5
"""Of the CUSUM, in standard deviations: the best for a shift of one."""

FALSE_ALARMS = 0.5 / 10_000
"""Per image, over all charts together: half of what is promised, as the limit is approximate."""

LARGEST = 3.0
"""A single image's normal score is cut here: one odd image is no drift."""

Floats = NDArray[np.float64]
Direction = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A measure left its reference. `since`: images since the chart last stood at zero."""

    station: str
    measure: str
    direction: Direction
    since: int
    shift: float


def measures_of(
    grey: NDArray[np.uint8],
    *,
    view: str = "",
    distance: float | None = None,
    probabilities: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """What is watched of one image.

    grey: the displayed image, 8 bit, any size. brightness: mean; contrast: standard deviation;
    tone: skewness; middle: mean of the middle half of rows and columns less that of all. The last
    two change sign with inverted greys. size: logarithm of the pixels. frontal_ap: 1 in AP.
    distance: of `classifier.frontal`. score_X: log odds of finding X.
    """
    values = grey.astype(np.float64)
    rows, columns = values.shape
    middle = values[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    mean, spread = float(values.mean()), float(values.std())
    found = {
        "brightness": mean,
        "contrast": spread,
        "tone": float(((values - mean) ** 3).mean()) / max(spread, 1e-6) ** 3,
        "middle": float(middle.mean()) - mean,
        "size": log(rows * columns),
        "frontal_ap": float(view.strip().upper() == "AP"),
    }
    if distance is not None:
        found["distance"] = distance
    for name, share in (probabilities or {}).items():
        clipped = min(max(share, 1e-6), 1 - 1e-6)
        found[f"score_{name}"] = log(clipped / (1 - clipped))
    return found


def reference_of(images: Sequence[Mapping[str, float]]) -> Reference:
    """From the measures of images that nothing is amiss with.

    Raises:
        TooFewCases: there are too few.
    """
    if len(images) < MIN_IMAGES:
        raise TooFewCases(
            f"A reference needs at least {MIN_IMAGES} images. Received: {len(images)}."
        )
    shares = np.linspace(0, 1, POINTS)
    names = [name for name in images[0] if all(name in image for image in images)]
    columns = {name: np.array([image[name] for image in images]) for name in names}
    quantiles = {
        name: tuple(np.quantile(column, shares).tolist()) for name, column in columns.items()
    }
    return Reference(len(images), quantiles)


def normal_scores(quantiles: Sequence[float], values: Floats) -> Floats:
    """Where values stand among the reference's, as standard normal deviates.

    A value that the reference holds often stands in the middle of its place, which makes the
    charts of measures with few values slower and never quicker to alarm.
    """
    points = np.asarray(quantiles, dtype=np.float64)
    shares = np.linspace(0, 1, len(points))
    first = np.searchsorted(points, values, side="left")
    last = np.searchsorted(points, values, side="right")
    between = np.interp(values, points, shares)
    tied = (shares[np.minimum(first, len(points) - 1)] + shares[np.maximum(last - 1, 0)]) / 2
    found = ndtri(np.where(last - first > 1, tied, between))
    return np.asarray(np.clip(found, -LARGEST, LARGEST))


@dataclass(frozen=True, slots=True)
class Limits:
    """Of all charts: slack and limit of each, in standard deviations."""

    slack: float
    limit: float


def limits_for(
    reference: Reference, charts: int | None = None, false_alarms: float = FALSE_ALARMS
) -> Limits:
    """Limits that keep all charts together at so many false alarms per image.

    The slack allows for twice the standard error of the reference's own level.
    """
    count = len(reference.measures) if charts is None else charts
    return _limits(reference.images, max(1, count), false_alarms)


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
    """The state of a station's charts, small enough for a row of a table; see `seen`.

    sums, counts: by measure and direction, where they are above zero.
    """

    station: str
    sums: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def seen(
        self, reference: Reference, image: Mapping[str, float], limits: Limits | None = None
    ) -> tuple[Charts, tuple[Alarm, ...]]:
        """The state after one more image, and what left its limits with it.

        A measure that the image or the reference lacks stands still. After an alarm its chart
        begins anew.
        """
        limits = limits or limits_for(reference)
        sums, counts, alarms = dict(self.sums), dict(self.counts), []
        for name, quantiles in reference.measures.items():
            if name not in image:
                continue
            score = float(normal_scores(quantiles, np.array([image[name]]))[0])
            old, run = sums.get(name, (0.0, 0.0)), counts.get(name, (0, 0))
            new = [max(0.0, old[side] + way * score - limits.slack)
                   for side, way in enumerate((1, -1))]  # fmt: skip
            length = [run[side] + 1 if new[side] > 0 else 0 for side in range(2)]
            directions: tuple[Direction, Direction] = ("higher", "lower")
            for side, direction in enumerate(directions):
                if new[side] > limits.limit:
                    shift = new[side] / length[side] + limits.slack
                    alarms.append(Alarm(self.station, name, direction, length[side], shift))
                    new[side], length[side] = 0.0, 0
            sums[name], counts[name] = (new[0], new[1]), (length[0], length[1])
        return Charts(self.station, sums, counts), tuple(alarms)


def watch(
    reference: Reference, images: Iterable[tuple[str, Mapping[str, float]]]
) -> tuple[tuple[int, Alarm], ...]:
    """Alarms over a stream of (station, measures), each with the number of its image from 0."""
    states: dict[str, Charts] = {}
    limits, found = limits_for(reference), []
    for number, (station, image) in enumerate(images):
        state = states.get(station) or Charts(station)
        states[station], alarms = state.seen(reference, image, limits)
        found += [(number, alarm) for alarm in alarms]
    return tuple(found)


def count_alarms(scores: Floats, limits: Limits) -> NDArray[np.int64]:
    """Alarms of many streams at once, for simulations: scores (images, streams, measures)."""
    up, down = np.zeros(scores.shape[1:]), np.zeros(scores.shape[1:])
    alarms = np.zeros(scores.shape[1], dtype=np.int64)
    for score in scores:
        for sums, way in ((up, 1), (down, -1)):
            np.maximum(0.0, sums + way * score - limits.slack, out=sums)
            over = sums > limits.limit
            alarms += over.sum(axis=1)
            sums[over] = 0.0
    return alarms
