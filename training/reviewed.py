"""What reviews say of a finding: rates with Wilson intervals, and whether its calibration holds."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]

from classifier.bundle import Interval

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]

MIN_REVIEWS = 30
BROKEN_P = 0.001
BROKEN_GAP = 0.05
"""A calibration is broken where the gap is beyond chance, and large enough to matter."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Of decisions against reviews; None where there is nothing to count.

    Sensitivity and specificity are those of all patients only where negatives were reviewed
    without regard to the score.
    """

    sensitivity: Interval | None
    specificity: Interval | None
    ppv: Interval | None
    npv: Interval | None


@dataclass(frozen=True, slots=True)
class CalibrationCheck:
    """Mean probability against the share that reviews found; p is Spiegelhalter's, two-sided."""

    reviews: int
    expected: float
    observed: Interval
    p: float
    broken: bool


def wilson(hits: float, count: float, level: float = 0.95) -> Interval | None:
    """A share with its interval; Wilson, J. Am. Statist. Assoc. 22, 1927."""
    if count == 0:
        return None
    z = float(ndtri((1 + level) / 2))
    share = hits / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def rates(decisions: Bits, truth: Bits) -> Rates:
    """decisions, truth: (reviews) 0 or 1, of one finding."""
    tp, fp = int((decisions & truth).sum()), int((decisions & (1 - truth)).sum())
    fn, tn = int(((1 - decisions) & truth).sum()), int(((1 - decisions) & (1 - truth)).sum())
    return Rates(wilson(tp, tp + fn), wilson(tn, tn + fp), wilson(tp, tp + fp), wilson(tn, tn + fn))


def calibration_check(probabilities: Floats, truth: Bits) -> CalibrationCheck:
    """Whether probabilities hold on reviewed images, chosen by whatever their scores said.

    Spiegelhalter, Statistics in Medicine 5, 1986; and the plain gap of expected and observed
    positives, of which the smaller p counts, doubled.
    """
    count = len(truth)
    if count == 0:
        return CalibrationCheck(0, 0.0, Interval(0.0, 0.0, 1.0), 1.0, broken=False)
    expected, found = float(probabilities.mean()), wilson(int(truth.sum()), count)
    variance = probabilities * (1 - probabilities)
    tilt = 1 - 2 * probabilities
    p = min(
        _two_sided(
            float(((truth - probabilities) * weight).sum()), float((weight**2 * variance).sum())
        )
        for weight in (np.ones(count), tilt)
    )
    p = min(1.0, 2 * p)
    observed = found or Interval(0.0, 0.0, 1.0)
    gap = abs(expected - observed.value)
    slope = abs(float(np.mean((truth - probabilities) * tilt)))
    broken = count >= MIN_REVIEWS and p < BROKEN_P and max(gap, slope) > BROKEN_GAP
    return CalibrationCheck(count, expected, observed, p, broken=broken)


def _two_sided(total: float, variance: float) -> float:
    if variance <= 0:
        return 1.0 if total == 0 else 0.0
    return float(2 * ndtr(-abs(total) / sqrt(variance)))
