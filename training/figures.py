"""Figures of findings with 95 % intervals, from a bootstrap that draws patients, not images.

A figure's value is scikit-learn's. Its thousand redraws are sums over the same images, each taken
as often as its patient was drawn: scikit-learn would need minutes for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, roc_auc_score

from classifier.bundle import FindingMetrics, Interval, Metrics

RESAMPLES = 1000
BINS = 10
CHUNK = 100  # redraws at a time, which bounds the memory

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]
Draws = NDArray[np.uint8]

RATES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv")
"""Figures of the decision at the threshold."""


@dataclass(frozen=True, slots=True)
class Scored:
    """Labelled images with what a bundle says of them.

    scores: (images, findings) what the AUC ranks, logits or probabilities.
    probabilities, targets: (images, findings).
    thresholds: (findings) or, where they differ between images, (images, findings).
    patients: (images).
    """

    names: tuple[str, ...]
    scores: NDArray[np.floating]
    probabilities: Floats
    thresholds: Floats
    targets: Bits
    patients: NDArray[np.str_]

    @property
    def decisions(self) -> Bits:
        """(images, findings), 1 where the finding counts as present."""
        return np.asarray(self.probabilities >= self.thresholds, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one finding; None where the images cannot say, as without one positive case.

    `prevalence` is that of PPV and NPV. `cells` are those of scikit-learn's confusion matrix: true
    negatives, false positives, false negatives, true positives.
    """

    positives: int
    negatives: int
    prevalence: float
    cells: tuple[int, int, int, int]
    auc: Interval | None
    rates: Mapping[str, Interval | None]
    ece: Interval
    brier: Interval


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are measured together. `too_few`: positive and negative images of the findings
    that these images are too few for."""

    images: int
    patients: int
    macro_auc: Interval | None
    findings: Mapping[str, Figures]
    too_few: Mapping[str, tuple[int, int]]

    def metrics(self, data: str) -> Metrics:
        """The part of it that a manifest holds."""

        def value(interval: Interval | None) -> float | None:
            return None if interval is None else interval.value

        return Metrics(
            data=data,
            images=self.images,
            patients=self.patients,
            macro_auc=self.macro_auc,
            findings={
                name: FindingMetrics(
                    positives=f.positives,
                    auc=f.auc,
                    accuracy=(f.cells[0] + f.cells[3]) / self.images,
                    sensitivity=value(f.rates["sensitivity"]),
                    specificity=value(f.rates["specificity"]),
                    ece=f.ece.value,
                    brier=f.brier.value,
                )
                for name, f in self.findings.items()
            },
        )


def resamples(patients: NDArray[np.str_], seed: int = 0) -> Draws:
    """(RESAMPLES, images): how often each image is in each redraw of the patients."""
    names, owner = np.unique(patients, return_inverse=True)
    random = np.random.default_rng(seed)
    counts = np.empty((RESAMPLES, len(names)), dtype=np.uint8)
    for row in counts:
        drawn = random.integers(len(names), size=len(names))
        row[:] = np.minimum(np.bincount(drawn, minlength=len(names)), 255)
    return np.asarray(counts[:, owner])


def group_figures(
    scored: Scored,
    draws: Draws,
    rows: NDArray[np.int64] | None = None,
    needed: int = 0,
    prevalence: Mapping[str, float] | None = None,
) -> Group:
    """Figures of the images `rows` (all by default).

    A finding with fewer than `needed` positive or negative images is named and not measured.
    PPV and NPV are at the stated prevalence, and else at that of the images.
    """
    rows = np.arange(len(scored.targets)) if rows is None else rows
    draws = draws[:, rows]
    findings: dict[str, Figures] = {}
    too_few: dict[str, tuple[int, int]] = {}
    aucs: list[Floats] = []
    for column, name in enumerate(scored.names):
        truth = scored.targets[rows, column]
        positives = int(truth.sum())
        if min(positives, len(rows) - positives) < needed:
            too_few[name] = (positives, len(rows) - positives)
            continue
        findings[name], redrawn = finding_figures(
            scored.scores[rows, column],
            scored.probabilities[rows, column],
            scored.decisions[rows, column],
            truth,
            draws,
            (prevalence or {}).get(name),
        )
        aucs.append(redrawn)
    values = [figures.auc.value for figures in findings.values() if figures.auc is not None]
    measured = [redrawn for redrawn in aucs if not np.isnan(redrawn).all()]
    macro = interval(float(np.mean(values)), np.mean(measured, axis=0)) if values else None
    patients = len(np.unique(scored.patients[rows]))
    return Group(len(rows), patients, macro, findings, too_few)


def finding_figures(
    scores: NDArray[np.floating],
    probabilities: Floats,
    decisions: Bits,
    truth: Bits,
    draws: Draws,
    prevalence: float | None = None,
) -> tuple[Figures, Floats]:
    """Figures of one finding over images, and the AUC of each redraw (no number: one class)."""
    tn, fp, fn, tp = (int(n) for n in confusion_matrix(truth, decisions, labels=[0, 1]).ravel())
    cells = np.stack([(1 - decisions) * (1 - truth), decisions * (1 - truth),
                      (1 - decisions) * truth, decisions * truth], axis=1)  # fmt: skip
    error = (probabilities - truth) ** 2
    gaps = np.eye(BINS)[_bins(probabilities)] * (probabilities - truth)[:, np.newaxis]
    parts = []
    for chunk in np.array_split(draws, -(-len(draws) // CHUNK)):
        weights = chunk.astype(np.float64)
        total = np.maximum(weights.sum(axis=1), 1)
        parts.append(
            np.column_stack(
                [
                    weighted_auc(scores, truth, weights),
                    np.abs(weights @ gaps).sum(axis=1) / total,
                    weights @ error / total,
                    _rates(weights @ cells, prevalence),
                ]
            )
        )
    redrawn = np.concatenate(parts)
    rates = _rates(np.array([[tn, fp, fn, tp]]), prevalence)[0]
    rates[0] = accuracy_score(truth, decisions)
    one_class = truth.min() == truth.max()
    auc = float("nan") if one_class else float(roc_auc_score(truth, scores))
    ece = expected_calibration_error(probabilities, truth)
    brier = float(brier_score_loss(truth, probabilities, pos_label=1))
    return Figures(
        positives=int(truth.sum()),
        negatives=int((1 - truth).sum()),
        prevalence=float(truth.mean()) if prevalence is None else prevalence,
        cells=(tn, fp, fn, tp),
        auc=interval(auc, redrawn[:, 0]),
        rates={name: interval(float(rates[i]), redrawn[:, 3 + i]) for i, name in enumerate(RATES)},
        ece=bounds(ece, redrawn[:, 1]),
        brier=bounds(brier, redrawn[:, 2]),
    ), redrawn[:, 0]


def weighted_auc(scores: NDArray[np.floating], truth: Bits, weights: Floats) -> Floats:
    """ROC-AUC for each row of weights (draws, images), as the share of pairs in the right order.

    Equal to scikit-learn's `roc_auc_score` with `sample_weight`.
    """
    order = np.argsort(scores, kind="stable")
    ordered, hit = scores[order], truth[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])  # of equal scores
    positive = np.add.reduceat(weights[:, order] * hit, starts, axis=1)
    negative = np.add.reduceat(weights[:, order] * (1 - hit), starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        return np.asarray((positive * below).sum(axis=1) / pairs)


def expected_calibration_error(probabilities: Floats, targets: Bits) -> float:
    """Mean gap of probability and frequency over ten bins of equal width, weighted by their size.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    gap = np.bincount(_bins(probabilities), probabilities - targets, minlength=BINS)
    return float(np.abs(gap).sum() / len(targets))


def interval(value: float, draws: Floats) -> Interval | None:
    """The value with its bounds; None where it is no number."""
    return None if np.isnan(value) else bounds(value, draws)


def bounds(value: float, draws: Floats) -> Interval:
    """The value with 2.5 and 97.5 % of its redraws.

    Redrawing adds noise, which makes a calibration error larger: the interval holds the value all
    the same.
    """
    draws = draws[~np.isnan(draws)]
    if len(draws) == 0:
        return Interval(value, value, value)
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(value, float(min(low, value)), float(max(high, value)))


def _bins(probabilities: Floats) -> NDArray[np.int64]:
    return np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)


def _rates(cells: NDArray[np.floating] | NDArray[np.int64], prevalence: float | None) -> Floats:
    """(tables, RATES) from tables of (tn, fp, fn, tp); PPV and NPV by Bayes' theorem."""
    tn, fp, fn, tp = np.asarray(cells, dtype=np.float64).T
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        share = (tp + fn) / (tn + fp + fn + tp) if prevalence is None else prevalence
        hit, alarm = share * sensitivity, (1 - share) * (1 - specificity)
        miss, clear = share * (1 - sensitivity), (1 - share) * specificity
        columns = [
            (tp + tn) / (tn + fp + fn + tp),
            (sensitivity + specificity) / 2,
            sensitivity,
            specificity,
            hit / (hit + alarm),
            clear / (clear + miss),
        ]
    return np.stack(columns, axis=1)
