"""Two models on the same labelled images: the difference of a figure, and how sure it is.

All variances are sums over patients, so that several images of one patient do not count as
independent. With one image for each patient they are those of the papers that are named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, stdtr, stdtrit  # type: ignore[import-untyped]
from scipy.stats import rankdata  # type: ignore[import-untyped]

from classifier.bundle import Interval

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]
Codes = NDArray[np.int64]

Z95 = 0.975
"""Upper quantile of a two-sided 95 % interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its standard error; `freedom` are the degrees of freedom of Student's t."""

    value: float
    error: float
    freedom: float

    def interval(self) -> Interval:
        """Two-sided, 95 %."""
        reach = float(stdtrit(self.freedom, Z95)) * self.error
        return Interval(self.value, self.value - reach, self.value + reach)

    def lower(self, level: float) -> float:
        """The one-sided bound that the true value is below in a share `level` of samples."""
        return self.value - float(stdtrit(self.freedom, 1 - level)) * self.error

    def p_above(self, limit: float = 0.0) -> float:
        """One-sided p value against "the true value is at most `limit`"."""
        if self.error == 0.0:
            return 0.0 if self.value > limit else 1.0
        return float(stdtr(self.freedom, (limit - self.value) / self.error))

    def p_below(self, limit: float = 0.0) -> float:
        """One-sided p value against "the true value is at least `limit`"."""
        return Estimate(-self.value, self.error, self.freedom).p_above(-limit)


@dataclass(frozen=True, slots=True)
class Aucs:
    """ROC-AUC of some models on the same images.

    values: (models). parts: (models, patients), what each patient adds to each value's error; the
    covariance of the values is parts @ parts.T.
    """

    values: Floats
    parts: Floats
    freedom: int

    @property
    def covariance(self) -> Floats:
        """(models, models)."""
        return np.asarray(self.parts @ self.parts.T)

    def estimate(self, model: int) -> Estimate:
        """Of one model."""
        return _estimate(float(self.values[model]), self.parts[model], self.freedom)

    def difference(self) -> Estimate:
        """Of the second model from the first."""
        value = float(self.values[1] - self.values[0])
        return _estimate(value, self.parts[1] - self.parts[0], self.freedom)


def delong(scores: NDArray[np.floating], truth: Bits, patients: Codes) -> Aucs:
    """ROC-AUC of each row of scores (models, images), with covariance.

    DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988, by midranks as in Sun and Xu, IEEE
    Signal Processing Letters 21, 2014; images of one patient are summed as in Obuchowski,
    Biometrics 53, 1997. Her third sum has the factor I / (I - 1) of all patients; here it is the
    geometric mean of those of the other two, which keeps the covariance positive.

    patients: (images), each patient's number from 0.
    """
    hit = truth == 1
    positives, negatives = int(hit.sum()), int((~hit).sum())
    if not positives or not negatives:
        raise ValueError(f"one class is missing. Received: {positives} and {negatives} images")
    ranks = rankdata(scores, axis=1)
    above = (ranks[:, hit] - rankdata(scores[:, hit], axis=1)) / negatives
    below = 1 - (ranks[:, ~hit] - rankdata(scores[:, ~hit], axis=1)) / positives
    values = above.mean(axis=1)
    count = int(patients.max()) + 1
    parts = np.zeros((len(scores), count))
    owners = []
    for side, placed in ((hit, above), (~hit, below)):
        owner, size = patients[side], placed.shape[1]
        with_any = len(np.unique(owner))
        factor = np.sqrt(with_any / max(1, with_any - 1)) / size
        for row, each in zip(parts, placed - values[:, np.newaxis], strict=True):
            row += factor * np.bincount(owner, each, minlength=count)
        owners.append(with_any)
    return Aucs(np.asarray(values), parts, max(1, min(owners) - 1))


def mean_difference(aucs: Sequence[Aucs]) -> Estimate:
    """Mean over findings of the second model's AUC less the first's, over the same patients.

    Its parts are the mean of those of the findings, so that what they share is counted.
    """
    value = float(np.mean([each.values[1] - each.values[0] for each in aucs]))
    parts = np.mean([each.parts[1] - each.parts[0] for each in aucs], axis=0)
    return _estimate(value, parts, sum(each.freedom for each in aucs))


def clustered_mean(values: Floats, patients: Codes) -> Estimate:
    """Mean over images, with the error of a sample of patients (ratio estimator; Cochran, Sampling
    Techniques, 1977, section 6.4)."""
    mean = float(values.mean())
    sums = np.bincount(patients, values - mean)
    owners = len(np.unique(patients))
    factor = np.sqrt(owners / max(1, owners - 1)) / len(values)
    return _estimate(mean, factor * sums, max(1, owners - 1))


def mcnemar(lost: Bits, won: Bits, patients: Codes) -> tuple[float, float]:
    """Exact one-sided p values that decisions got worse, and that they got better.

    lost, won: (images), 1 where the first model alone, or the second alone, is right. Each patient
    counts once, by the sign of what he lost and won: with one image for each this is the exact
    form of McNemar, Psychometrika 12, 1947.
    """
    net = np.bincount(patients, won.astype(np.int64) - lost.astype(np.int64))
    worse, better = int((net < 0).sum()), int((net > 0).sum())
    if worse + better == 0:
        return 1.0, 1.0
    # P(at least `side` of all) is P(at most the rest) at even odds
    return float(bdtr(better, worse + better, 0.5)), float(bdtr(worse, worse + better, 0.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values; Holm, Scandinavian Journal of Statistics 6, 1979."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(raised, 1.0)
    return [float(each) for each in adjusted]


def _estimate(value: float, parts: Floats, freedom: float) -> Estimate:
    return Estimate(value, float(np.sqrt((parts**2).sum())), freedom)
