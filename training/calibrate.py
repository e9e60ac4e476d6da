"""Calibration and thresholds per finding, from logits of images that the network was not fit on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from classifier.calibration import Calibration
from training.errors import TooFewCases

MIN_SLOPE = 0.05
"""A finding whose logits say nothing keeps its order, and a probability near its prevalence."""


def platt(logits: NDArray[np.float32], targets: NDArray[np.uint8]) -> Calibration:
    """Platt scaling of one finding, with Platt's own smoothing of the targets (1999, section 2.2).

    Raises:
        TooFewCases: one class is missing.
    """
    positives, negatives = int(targets.sum()), int((1 - targets).sum())
    if positives == 0 or negatives == 0:
        raise TooFewCases(
            "Calibration needs positive and negative cases. Received: "
            f"{positives} positive, {negatives} negative."
        )
    high, low = (positives + 1) / (positives + 2), 1 / (negatives + 2)
    hit = np.where(targets == 1, high, low)
    x = np.concatenate([logits, logits]).astype(np.float64)[:, np.newaxis]
    y = np.repeat([1, 0], len(logits))
    model = LogisticRegression(C=np.inf).fit(x, y, sample_weight=np.concatenate([hit, 1 - hit]))
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    if slope < MIN_SLOPE:
        slope, intercept = MIN_SLOPE, float(np.log(positives / negatives))
    return Calibration(slope, intercept)


def youden_threshold(probabilities: NDArray[np.float64], targets: NDArray[np.uint8]) -> float:
    """The probability that maximises sensitivity + specificity - 1 (Youden, 1950).

    Halfway to the next lower probability, so that rounding does not decide a case.
    """
    false, true, thresholds = roc_curve(targets, probabilities, drop_intermediate=False)
    best = int(np.argmax((true - false)[1:])) + 1
    lower = thresholds[best + 1] if best + 1 < len(thresholds) else 0.0
    return float(np.clip((thresholds[best] + lower) / 2, 0.0, 1.0))
