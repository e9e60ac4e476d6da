"""Logit to calibrated probability, by Platt scaling or isotonic regression for each finding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass

MAX_POINTS = 200

Logit = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Calibration:
    """probability = 1 / (1 + exp(-(slope * logit + intercept))); the slope keeps the order.

    Platt, 1999. With no intercept it is temperature scaling (Guo et al., ICML 2017), the slope
    being 1 / temperature.
    """

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    intercept: Annotated[float, Field(allow_inf_nan=False)] = 0.0

    def probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of each logit."""
        scaled = np.clip(logits * np.float64(self.slope) + self.intercept, -60.0, 60.0)
        return np.asarray(1.0 / (1.0 + np.exp(-scaled)))


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Isotonic:
    """Straight lines between points (logit, probability), flat outside of them.

    Zadrozny and Elkan, KDD 2002. Logits rise strictly, probabilities never fall.
    """

    points: Annotated[
        tuple[tuple[Logit, Probability], ...], Field(min_length=1, max_length=MAX_POINTS)
    ]

    @field_validator("points")
    @classmethod
    def _monotone(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if any(b[0] <= a[0] or b[1] < a[1] for a, b in pairwise(points)):
            raise ValueError("the logits must rise and the probabilities must not fall")
        return points

    def probability(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of each logit."""
        x, y = zip(*self.points, strict=True)
        return np.asarray(np.interp(logits, x, y), dtype=np.float64)


AnyCalibration = Calibration | Isotonic


def calibrated(
    logits: NDArray[np.float32], calibrations: Sequence[AnyCalibration]
) -> NDArray[np.float64]:
    """Probabilities (images, findings) from logits of the same shape."""
    columns = zip(calibrations, logits.T, strict=True)
    return np.stack([calibration.probability(column) for calibration, column in columns], axis=1)
