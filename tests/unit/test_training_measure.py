"""Calibration, thresholds and figures, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifier.calibration import calibrated
from training.calibrate import MIN_SLOPE, platt, youden_threshold
from training.errors import TooFewCases
from training.evaluate import expected_calibration_error, measure


def test_platt_finds_the_slope_and_intercept_that_made_the_labels() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 40_000).astype(np.float32)
    truth = (random.random(40_000) < 1 / (1 + np.exp(-(0.7 * logits - 1.5)))).astype(np.uint8)
    found = platt(logits, truth)
    assert found.slope == pytest.approx(0.7, abs=0.03)
    assert found.intercept == pytest.approx(-1.5, abs=0.05)
    p = calibrated(logits[:, np.newaxis], (found,))[:, 0]
    assert expected_calibration_error(p, truth) < 0.01


def test_platt_on_noise_says_the_prevalence_and_keeps_the_order() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 1, 500).astype(np.float32)
    truth = (np.arange(500) % 5 == 0).astype(np.uint8)
    found = platt(-np.abs(logits) * (2 * truth.astype(np.float32) - 1), truth)
    assert found.slope == MIN_SLOPE
    p = calibrated(logits[:, np.newaxis], (found,))[:, 0]
    assert abs(p.mean() - 0.2) < 0.02


@pytest.mark.parametrize("truth", [0, 1])
def test_platt_needs_both_classes(truth: int) -> None:
    with pytest.raises(TooFewCases, match="positive and negative"):
        platt(np.zeros(9, dtype=np.float32), np.full(9, truth, dtype=np.uint8))


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=2, max_size=60))
def test_no_threshold_beats_youdens(cases: list[tuple[float, bool]]) -> None:
    p = np.array([case[0] for case in cases], dtype=np.float64)
    truth = np.array([case[1] for case in cases])
    if truth.all() or not truth.any():
        return

    def index(threshold: float) -> float:
        return float((p[truth] >= threshold).mean() + (p[~truth] < threshold).mean())

    best = youden_threshold(p, truth.astype(np.uint8))
    assert 0 <= best <= 1
    assert index(best) >= max(index(t) for t in [*p, 0.0, 1.0]) - 1e-9


def test_figures_of_a_hand_made_case() -> None:
    p = np.array([[0.9], [0.8], [0.3], [0.2]])
    truth = np.array([[1], [0], [1], [0]], dtype=np.uint8)
    m = measure(("a",), p, np.array([0.5]), truth, np.array(["1", "2", "3", "4"]), "x")
    finding = m.findings["a"]
    assert (m.images, m.patients, finding.positives) == (4, 4, 2)
    assert finding.auc is not None
    assert finding.auc.value == pytest.approx(0.75)
    assert finding.accuracy == finding.sensitivity == finding.specificity == 0.5
    assert finding.brier == pytest.approx((0.01 + 0.64 + 0.49 + 0.04) / 4)
    assert finding.ece == pytest.approx((0.1 + 0.8 + 0.7 + 0.2) / 4)


def test_intervals_are_wider_when_a_patient_has_many_images() -> None:
    """A bootstrap over images would take five copies of a patient for five patients."""
    random = np.random.default_rng(2)
    truth = random.integers(0, 2, 60).astype(np.uint8)
    p = np.clip(0.3 * truth + random.random(60) * 0.7, 0, 1)

    def width(patients: np.ndarray) -> float:
        many = measure(
            ("a",), np.repeat(p, 5)[:, None], np.array([0.5]), np.repeat(truth, 5)[:, None],
            patients, "x",
        )  # fmt: skip
        assert many.macro_auc is not None
        assert many.macro_auc.low <= many.macro_auc.value <= many.macro_auc.high
        return many.macro_auc.high - many.macro_auc.low

    grouped = width(np.repeat(np.arange(60), 5).astype(str))
    assert grouped > 1.8 * width(np.arange(300).astype(str))


def test_a_finding_without_positives_has_no_auc_and_no_sensitivity() -> None:
    p, truth = np.array([[0.2, 0.6], [0.3, 0.1]]), np.array([[0, 1], [0, 0]], dtype=np.uint8)
    m = measure(("a", "b"), p, np.array([0.5, 0.5]), truth, np.array(["1", "2"]), "x")
    assert m.findings["a"].auc is None
    assert m.findings["a"].sensitivity is None
    assert m.macro_auc is not None
    assert m.macro_auc.value == 1.0
