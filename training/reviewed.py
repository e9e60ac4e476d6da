"""What reviews say of a finding: rates with Wilson intervals, whether its calibration holds, and
whether its readers see it as often as before.

Nothing here needs more than the language: the process that watches stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from statistics import NormalDist

from classifier.interval import Interval

MIN_REVIEWS = 30
BROKEN_P = 0.001
BROKEN_GAP = 0.05
"""A calibration is broken where the gap is beyond chance, and large enough to matter."""

MIN_COMPARED = 100
DRIFT_P = 0.001
DRIFT_GAP = 0.1
"""Labels drift where the share differs beyond chance from what it was, and enough to matter."""


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
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = hits / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def rates(decisions: Sequence[int], truth: Sequence[int]) -> Rates:
    """decisions, truth: 0 or 1 of each review of one finding."""
    cells = {(said, true): 0 for said in (0, 1) for true in (0, 1)}
    for said, true in zip(decisions, truth, strict=True):
        cells[int(said), int(true)] += 1
    tp, fp, fn, tn = cells[1, 1], cells[1, 0], cells[0, 1], cells[0, 0]
    return Rates(wilson(tp, tp + fn), wilson(tn, tn + fp), wilson(tp, tp + fp), wilson(tn, tn + fn))


def calibration_check(probabilities: Sequence[float], truth: Sequence[int]) -> CalibrationCheck:
    """Whether probabilities hold on reviewed images, chosen by whatever their scores said.

    Spiegelhalter, Statistics in Medicine 5, 1986; and the plain gap of expected and observed
    positives, of which the smaller p counts, doubled.
    """
    count = len(truth)
    if count == 0:
        return CalibrationCheck(0, 0.0, Interval(0.0, 0.0, 1.0), 1.0, broken=False)
    pairs = [(float(p), int(true)) for p, true in zip(probabilities, truth, strict=True)]
    expected, found = sum(p for p, _ in pairs) / count, wilson(sum(y for _, y in pairs), count)
    plain = sum(y - p for p, y in pairs)
    tilted = sum((y - p) * (1 - 2 * p) for p, y in pairs)
    spreads = [p * (1 - p) for p, _ in pairs]
    tilt = sum(spread * (1 - 2 * p) ** 2 for spread, (p, _) in zip(spreads, pairs, strict=True))
    p = min(1.0, 2 * min(_two_sided(plain, sum(spreads)), _two_sided(tilted, tilt)))
    observed = found or Interval(0.0, 0.0, 1.0)
    gap = max(abs(plain), abs(tilted)) / count
    broken = count >= MIN_REVIEWS and p < BROKEN_P and gap > BROKEN_GAP
    return CalibrationCheck(count, expected, observed, p, broken=broken)


@dataclass(frozen=True, slots=True)
class ShareCheck:
    """The share that readers see now, against the share before; p is two-sided."""

    before: Interval
    now: Interval
    p: float
    drifted: bool


def share_check(before: Sequence[int], now: Sequence[int]) -> ShareCheck | None:
    """Whether a finding is seen more or less often than before; None where there are too few.

    before, now: 0 or 1 of each review. Two proportions, pooled, by the normal distribution.
    """
    if min(len(before), len(now)) < MIN_COMPARED:
        return None
    hits, more, count = sum(before), sum(now), len(before) + len(now)
    first, second = wilson(hits, len(before)), wilson(more, len(now))
    if first is None or second is None:
        return None
    pooled = (hits + more) / count
    variance = pooled * (1 - pooled) * (1 / len(before) + 1 / len(now))
    gap = second.value - first.value
    p = _two_sided(gap, variance)
    return ShareCheck(first, second, p, drifted=p < DRIFT_P and abs(gap) > DRIFT_GAP)


def _two_sided(total: float, variance: float) -> float:
    if variance <= 0:
        return 1.0 if total == 0 else 0.0
    return erfc(abs(total) / sqrt(2 * variance))
