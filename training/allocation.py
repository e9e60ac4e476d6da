"""How many flagged and how many other cases an acceptance test draws."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from training.acceptance import Plan
from training.errors import TooFewCases

MIN_PREVALENCE = 0.01
LARGEST = 10**6  # cases of a side that an answer may name as needed
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Strata:
    """Cases to draw of those flagged and of those not flagged.

    prevalence: of the finding, that they were reckoned with.
    """

    flagged: int
    unflagged: int
    prevalence: float


@dataclass(frozen=True, slots=True)
class _Bound:
    """The variance of a share is on_flagged / flagged + on_others / others."""

    on_flagged: float
    on_others: float
    most: float


def allocate(wanted: Plan, flagged: int, unflagged: int, prevalence: float | None = None) -> Strata:
    """The fewest cases, of so many of each side, that give intervals as narrow as wanted.

    A share of a stratified sample is a ratio of two weighted sums, with the variance of Cochran,
    Sampling Techniques, 1977, chapter 6; it is to be at most that of the plan's plain sample.

    Args:
        wanted: the width of the intervals, and the shares expected.
        flagged: cases that there are.
        unflagged: likewise.
        prevalence: of the finding; without one, as the share flagged suggests.

    Raises:
        TooFewCases: all of them are not enough; it says how many there are and are needed.
        ValueError: sensitivity and specificity expected are those of a coin.
    """
    if wanted.sensitivity + wanted.specificity <= 1:
        raise ValueError("Sensitivity and specificity expected add up to more than 1.")
    if not flagged or not unflagged:
        side = "not flagged" if flagged else "flagged"
        raise TooFewCases(f"A test needs both flagged and other cases. There is none {side}.")
    if prevalence is None:
        prevalence = _prevalence(wanted, flagged / (flagged + unflagged))
    bounds = _bounds(wanted, prevalence, flagged, unflagged)
    found = _fewest(bounds, np.arange(1, flagged + 1), unflagged)
    if found is None:
        ideal = _fewest(bounds, np.unique(np.geomspace(1, LARGEST, 4000).astype(int)), LARGEST)
        need = f"about {ideal[0]} flagged and {ideal[1]} other cases" if ideal else "far more cases"
        raise TooFewCases(
            f"For intervals of {wanted.half_width:g} to each side the test needs {need}. There are "
            f"{flagged} flagged and {unflagged} others, good for about "
            f"{_reached(bounds, flagged, unflagged):.2f}."
        )
    return Strata(*found, prevalence)


def _prevalence(wanted: Plan, share: float) -> float:
    """Of a share flagged: Rogan and Gladen, Am. J. Epidemiology 107, 1978."""
    false = 1 - wanted.specificity
    return float(np.clip((share - false) / (wanted.sensitivity - false), MIN_PREVALENCE, 0.99))


def _bounds(wanted: Plan, prevalence: float, flagged: int, unflagged: int) -> list[_Bound]:
    """Of sensitivity, which is among the positives, and of specificity, among the negatives."""
    se, sp = wanted.sensitivity, wanted.specificity
    ppv = se * prevalence / (se * prevalence + (1 - sp) * (1 - prevalence))
    missed = (1 - se) * prevalence / ((1 - se) * prevalence + sp * (1 - prevalence))
    spread_flagged = flagged**2 * ppv * (1 - ppv)
    spread_others = unflagged**2 * missed * (1 - missed)
    bounds = []
    for count, one, other in (
        (wanted.positives, flagged * ppv, unflagged * missed),
        (wanted.negatives, flagged * (1 - ppv), unflagged * (1 - missed)),
    ):
        total = one + other
        bounds.append(
            _Bound(
                other**2 * spread_flagged / total**4,
                one**2 * spread_others / total**4,
                one * other / total**2 / count,
            )
        )
    return bounds


def _fewest(bounds: list[_Bound], flagged: NDArray[np.int64], most: int) -> tuple[int, int] | None:
    """The least flagged and others, of these counts of flagged and at most so many others."""
    others = np.ones(len(flagged))
    with np.errstate(divide="ignore"):
        for bound in bounds:
            room = bound.most - bound.on_flagged / flagged
            needed = np.where(room > 0, np.ceil(bound.on_others / np.maximum(room, 1e-300)), np.inf)
            others = np.maximum(others, needed)
    total = np.where(others <= most, flagged + others, np.inf)
    best = int(np.argmin(total))
    return None if np.isinf(total[best]) else (int(flagged[best]), int(others[best]))


def _reached(bounds: list[_Bound], flagged: int, unflagged: int) -> float:
    """The wider half of an interval where all cases are read."""
    return max(
        Z95 * sqrt(bound.on_flagged / flagged + bound.on_others / unflagged) for bound in bounds
    )
