"""A blinded acceptance test: how many cases, which ones, and what the report says of them.

First reads are made without sight of the answer; they are the truth that the answers are measured
against. Cases are drawn from those flagged and those not, so that positives are not too few; the
figures weigh each case by the inverse of its chance to be drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri  # type: ignore[import-untyped]

from classifier.bundle import Interval
from training.errors import TooFewCases
from training.reviewed import wilson

Bits = NDArray[np.uint8]
Floats = NDArray[np.float64]

RESAMPLES = 2000
MIN_CASES = 10
"""Positive and negative cases that a finding needs to be measured within a subgroup."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Cases that a test needs; `half_width` is what the interval has on either side at most."""

    positives: int
    negatives: int
    half_width: float
    sensitivity: float
    specificity: float

    def cases(self, prevalence: float) -> int:
        """Cases to read, drawn without regard to the answer, at this share of positives."""
        if not 0 < prevalence < 1:
            raise ValueError(f"a prevalence is above 0 and below 1. Received: {prevalence}")
        return max(ceil(self.positives / prevalence), ceil(self.negatives / (1 - prevalence)))


@dataclass(frozen=True, slots=True)
class Drawn:
    """A case of the sample. weight: how many cases of the source it stands for."""

    case: str
    weight: float


@dataclass(frozen=True, slots=True)
class Read:
    """One case: the first read, the bundle's decision, whose it is, and what it stands for.

    groups: column to value, as view to AP.
    """

    case: str
    patient: str
    truth: bool
    decision: bool
    weight: float = 1.0
    groups: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one finding over some cases; None where there is nothing to measure it on.

    cells: plain counts of true negatives, false positives, false negatives, true positives.
    kappa: Cohen's, agreement beyond chance.
    """

    cases: int
    patients: int
    cells: tuple[int, int, int, int]
    sensitivity: Interval | None
    specificity: Interval | None
    agreement: Interval
    kappa: Interval | None


@dataclass(frozen=True, slots=True)
class Report:
    """Of one finding: all cases, then by column and value where there are enough."""

    whole: Figures
    groups: Mapping[str, Mapping[str, Figures]]
    too_few: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return asdict(self)


def plan(
    half_width: float, sensitivity: float = 0.8, specificity: float = 0.8, level: float = 0.95
) -> Plan:
    """Cases for intervals of sensitivity and specificity no wider than `half_width` to each side.

    By Wilson's interval at the shares expected, which holds near 0 and 1 as well, where Buderer's
    normal formula (Academic Emergency Medicine 3, 1996) asks for too few.

    Raises:
        ValueError: a share or the width is not between 0 and 1.
    """
    for value in (half_width, sensitivity, specificity, level):
        if not 0 < value < 1:
            raise ValueError(f"a share is above 0 and below 1. Received: {value}")
    return Plan(
        positives=_needed(half_width, sensitivity, level),
        negatives=_needed(half_width, specificity, level),
        half_width=half_width,
        sensitivity=sensitivity,
        specificity=specificity,
    )


def _needed(half_width: float, share: float, level: float) -> int:
    """The least count whose interval is narrow enough; its width falls with the count."""
    z = float(ndtri((1 + level) / 2))

    def half(count: int) -> float:
        root = np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
        return float(z / (1 + z * z / count) * root)

    low, high = 0, 1
    while half(high) > half_width:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if half(middle) <= half_width else (middle, high)
    return high


def draw(cases: Mapping[str, bool], flagged: int, unflagged: int, seed: str) -> tuple[Drawn, ...]:
    """A sample of cases, by whether the bundle flagged them; in an order that says nothing.

    The same cases and seed give the same sample, whatever their order: each case is ranked by a
    hash of itself and the seed.

    Raises:
        TooFewCases: there are fewer than wanted.
    """
    drawn: list[Drawn] = []
    for side, wanted in ((True, flagged), (False, unflagged)):
        ranked = sorted((case for case, flag in cases.items() if flag == side), key=_rank(seed))
        if len(ranked) < wanted:
            raise TooFewCases(
                f"The test needs {wanted} cases that are {'flagged' if side else 'not flagged'}. "
                f"Received: {len(ranked)}."
            )
        drawn += [Drawn(case, len(ranked) / wanted) for case in ranked[:wanted]]
    order = _rank(f"order {seed}")
    return tuple(sorted(drawn, key=lambda each: order(each.case)))


def _rank(seed: str) -> Any:
    return lambda case: hashlib.sha256(f"{seed}\n{case}".encode()).digest()


def report(reads: Sequence[Read], seed: int = 0) -> Report:
    """The statistics of one finding.

    Raises:
        TooFewCases: there is no read.
    """
    if not reads:
        raise TooFewCases("An acceptance test without a first read has no report.")
    groups: dict[str, dict[str, Figures]] = {}
    few: list[str] = []
    columns = sorted({column for read in reads for column in read.groups or {}})
    for column in columns:
        values = sorted({(read.groups or {}).get(column, "not stated") for read in reads})
        for value in values:
            part = [r for r in reads if (r.groups or {}).get(column, "not stated") == value]
            positives = sum(read.truth for read in part)
            if min(positives, len(part) - positives) < MIN_CASES:
                few.append(f"{column} {value}: {positives} with, {len(part) - positives} without")
            else:
                groups.setdefault(column, {})[value] = figures(part, seed)
    return Report(figures(reads, seed), groups, tuple(few))


def figures(reads: Sequence[Read], seed: int = 0) -> Figures:
    """Wilson's intervals where each case stands for as many, of a patient of its own; otherwise
    a bootstrap of patients within what was drawn, and no narrower than Wilson's at the effective
    number of cases (Kish, 1965): where all agree, no redraw differs. Kappa's likewise, by what the
    interval of the agreement leaves open."""
    truth = np.array([read.truth for read in reads], dtype=np.uint8)
    decision = np.array([read.decision for read in reads], dtype=np.uint8)
    weights = np.array([read.weight for read in reads], dtype=np.float64)
    codes = np.unique([read.patient for read in reads], return_inverse=True)[1]
    cells = np.stack([(1 - truth) & (1 - decision), (1 - truth) & decision,
                      truth & (1 - decision), truth & decision], axis=1)  # fmt: skip
    tn, fp, fn, tp = (int(count) for count in cells.sum(axis=0))
    values = _values((weights @ cells)[np.newaxis])[0]
    plain = len(np.unique(weights)) == 1 and codes.max() + 1 == len(reads)
    redrawn = _values(_redrawn(codes, weights, seed) @ cells)
    bounds = [_bounds(value, draws) for value, draws in zip(values, redrawn.T, strict=True)]
    found = [wilson(tp, tp + fn), wilson(tn, tn + fp), wilson(tp + tn, len(reads))]
    if not plain:
        of = (truth, 1 - truth, np.ones_like(truth))
        found = [
            _wider(bound, _at_effective(bound.value, weights[side == 1])) if bound else None
            for bound, side in zip(bounds[:3], of, strict=True)
        ]
    sensitivity, specificity, agreement = found
    kappa = bounds[3]
    if kappa is not None and agreement is not None:
        kappa = _wider(kappa, _beyond_chance(agreement, weights @ cells))
    return Figures(
        cases=len(reads),
        patients=int(codes.max()) + 1,
        cells=(tn, fp, fn, tp),
        sensitivity=sensitivity,
        specificity=specificity,
        agreement=agreement or Interval(0.0, 0.0, 1.0),
        kappa=kappa,
    )


def _at_effective(share: float, weights: Floats) -> Interval | None:
    """Wilson's interval of a weighted share."""
    count = float(weights.sum() ** 2 / (weights**2).sum())
    return wilson(share * count, count)


def _beyond_chance(agreement: Interval, cells: Floats) -> Interval:
    """The agreement's interval as kappa has it, at the chance that the margins give."""
    tn, fp, fn, tp = cells
    chance = ((tp + fp) * (tp + fn) + (tn + fn) * (tn + fp)) / cells.sum() ** 2
    value, low, high = (
        float((one - chance) / (1 - chance))
        for one in (agreement.value, agreement.low, agreement.high)
    )
    return Interval(value, max(-1.0, low), high)


def _wider(one: Interval, other: Interval | None) -> Interval:
    if other is None:
        return one
    return Interval(one.value, min(one.low, other.low), max(one.high, other.high))


def _redrawn(codes: NDArray[np.int64], weights: Floats, seed: int) -> Floats:
    """(RESAMPLES, cases): weight of each case in each redraw of the patients."""
    random = np.random.default_rng(seed)
    count = int(codes.max()) + 1
    drawn = random.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.asarray(drawn[:, codes] * weights)


def _values(cells: Floats) -> Floats:
    """(tables, 4): sensitivity, specificity, agreement, kappa (Cohen, 1960)."""
    tn, fp, fn, tp = cells.T
    total = cells.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        same = (tp + tn) / total
        chance = ((tp + fp) * (tp + fn) + (tn + fn) * (tn + fp)) / total**2
        return np.stack(
            [tp / (tp + fn), tn / (tn + fp), same, (same - chance) / (1 - chance)], axis=1
        )


def _bounds(value: float, draws: Floats) -> Interval | None:
    draws = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(draws):
        return None
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(float(value), float(min(low, value)), float(max(high, value)))
