"""What is watched of an image, so that a station that changes is noticed (`training.charts`).

Every measure is of the displayed image as it came, before its greys are corrected.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

import numpy as np

from classifier.pixels import Grey, Radiograph

SAMPLE = 256
"""Pixels of the longer side that are looked at, evenly spaced: the rest says the same, slower."""

GAMMA = (
    ("brightness", 0.0042), ("contrast", -0.0173), ("tone", -0.98), ("middle", 0.0384),
    ("floor", 0.0267), ("ceiling", 0.0346),
)  # fmt: skip
"""The linear discriminant of 700 NIH images at gamma 0.7 and 1.4, in deviations of those as they
are: no measure alone moves as far (docs/decisions/0018)."""


def measures_of(radiograph: Radiograph) -> dict[str, float]:
    """Return the measures of an image; grey levels are 0 to 255.

    brightness: mean; contrast: standard deviation; tone: skewness; middle: mean of the middle half
    of rows and columns less that of all; floor, ceiling: percentiles 1 and 99; gamma: see `GAMMA`.
    Tone and middle change sign with inverted greys. size: logarithm of the pixels.
    """
    rows, columns = radiograph.shape
    return {**greys_of(radiograph.grey), "size": log(rows * columns)}


def greys_of(grey: Grey) -> dict[str, float]:
    """Return the measures of the greys alone."""
    step = max(1, max(grey.shape) // SAMPLE)
    values = grey[step // 2 :: step, step // 2 :: step].astype(np.float32)
    rows, columns = values.shape
    middle = values[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    mean, spread = float(values.mean()), float(values.std())
    floor, ceiling = np.percentile(values, (1, 99))
    found = {
        "brightness": mean,
        "contrast": spread,
        "tone": float(((values - mean) ** 3).mean()) / max(spread, 1e-6) ** 3,
        "middle": float(middle.mean()) - mean,
        "floor": float(floor),
        "ceiling": float(ceiling),
    }
    return {**found, "gamma": sum(weight * found[name] for name, weight in GAMMA)}


def rounded(measures: Mapping[str, float]) -> dict[str, float]:
    """Return measures to four digits after the point, as they are kept."""
    return {name: round(value, 4) for name, value in measures.items()}
