"""Rates from reviews, and the check of a calibration: against scipy, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from training.reviewed import BROKEN_P, MIN_REVIEWS, calibration_check, rates, wilson


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_is_scipys(hits: int, count: int) -> None:
    hits = min(hits, count)
    found = wilson(hits, count)
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert found is not None
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_rates_are_those_of_the_table() -> None:
    decisions = np.array([1, 1, 1, 0, 0, 0, 0], dtype=np.uint8)
    truth = np.array([1, 1, 0, 1, 0, 0, 0], dtype=np.uint8)
    found = rates(decisions, truth)
    assert found.sensitivity is not None
    assert found.sensitivity.value == pytest.approx(2 / 3)
    assert found.ppv is not None
    assert found.ppv.value == pytest.approx(2 / 3)
    assert found.specificity is not None
    assert found.specificity.value == pytest.approx(3 / 4)
    assert rates(decisions * 0, truth).ppv is None


def reviews(count: int, shift: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of reviewed images and what was found, with the true log odds shifted."""
    odds = random.normal(-1.5, 1.2, count)
    truth = (random.random(count) < 1 / (1 + np.exp(-odds - shift))).astype(np.uint8)
    return 1 / (1 + np.exp(-odds)), truth


def test_a_calibration_that_holds_is_rarely_called_broken() -> None:
    random = np.random.default_rng(0)
    called = [calibration_check(*reviews(200, 0.0, random)).broken for _ in range(3000)]
    assert np.mean(called) <= 2 * BROKEN_P


@pytest.mark.parametrize("shift", [-1.5, 1.5])
def test_a_calibration_that_broke_is_found_with_two_hundred_reviews(shift: float) -> None:
    random = np.random.default_rng(1)
    called = [calibration_check(*reviews(200, shift, random)).broken for _ in range(100)]
    assert np.mean(called) >= 0.95


def test_reviews_of_the_flagged_alone_do_not_break_it() -> None:
    """Chosen by the score, as a radiologist looks at what is flagged first."""
    random, called = np.random.default_rng(2), 0
    for _ in range(300):
        p, truth = reviews(1000, 0.0, random)
        called += calibration_check(p[p > 0.4], truth[p > 0.4]).broken
    assert called <= 3


def test_few_reviews_break_nothing() -> None:
    p = np.full(MIN_REVIEWS - 1, 0.01)
    assert not calibration_check(p, np.ones(len(p), dtype=np.uint8)).broken
    assert calibration_check(np.append(p, 0.01), np.ones(len(p) + 1, dtype=np.uint8)).broken
    assert calibration_check(np.zeros(0), np.zeros(0, dtype=np.uint8)).reviews == 0
