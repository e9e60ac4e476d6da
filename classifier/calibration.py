"""Logit to calibrated probability: Platt scaling (Platt, 1999), one pair per finding."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Calibration:
    """probability = 1 / (1 + exp(-(slope * logit + intercept))); the slope keeps the order."""

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    intercept: Annotated[float, Field(allow_inf_nan=False)] = 0.0


def calibrated(
    logits: NDArray[np.float32], calibrations: tuple[Calibration, ...]
) -> NDArray[np.float64]:
    """Probabilities (images, findings) from logits of the same shape."""
    slopes = np.array([c.slope for c in calibrations])
    intercepts = np.array([c.intercept for c in calibrations])
    scaled = np.clip(logits * slopes + intercepts, -60.0, 60.0)
    return np.asarray(1.0 / (1.0 + np.exp(-scaled)))
