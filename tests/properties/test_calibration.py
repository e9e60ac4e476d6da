"""Calibrations are monotone probabilities, thresholds reach their target, whatever the data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sklearn.isotonic import IsotonicRegression

from classifier.calibration import AnyCalibration, Isotonic
from training.calibrate import (
    MIN_SLOPE,
    Method,
    Target,
    fit_calibration,
    isotonic,
    platt,
    threshold_for,
)

few = settings(max_examples=40, deadline=None)  # a fit takes milliseconds

METHODS: tuple[Method, ...] = ("platt", "temperature", "isotonic")
COARSE = st.integers(-40, 40).map(lambda n: n / 8)  # ties, and no two logits nearer than 1/8
CASES = st.lists(st.tuples(COARSE, st.booleans()), min_size=4, max_size=80)


def drawn(cases: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    logits = np.array([case[0] for case in cases], dtype=np.float32)
    truth = np.array([case[1] for case in cases], dtype=np.uint8)
    assume(0 < truth.sum() < len(truth))
    return logits, truth


@few
@given(CASES, st.sampled_from(METHODS), st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30))
def test_a_calibration_is_monotone_and_a_probability(
    cases: list[tuple[float, bool]], method: Method, logits: list[float]
) -> None:
    found = fit_calibration(method, *drawn(cases))
    p = found.probability(np.sort(np.array(logits)))
    assert (np.diff(p) >= 0).all()
    assert ((p >= 0) & (p <= 1)).all()


@few
@given(CASES, st.sampled_from(METHODS))
def test_a_calibration_comes_back_from_the_manifest_as_it_was(
    cases: list[tuple[float, bool]], method: Method
) -> None:
    adapter: TypeAdapter[AnyCalibration] = TypeAdapter(AnyCalibration)
    found = fit_calibration(method, *drawn(cases))
    assert adapter.validate_json(adapter.dump_json(found)) == found


@few
@given(CASES, st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(
    cases: list[tuple[float, bool]], method: Method, random: object
) -> None:
    logits, truth = drawn(cases)
    order = np.array(random.sample(range(len(cases)), len(cases)))  # type: ignore[attr-defined]
    one = fit_calibration(method, logits, truth).probability(logits)
    other = fit_calibration(method, logits[order], truth[order]).probability(logits)
    assert np.allclose(one, other, atol=1e-3)


@settings(few, suppress_health_check=[HealthCheck.filter_too_much])
@given(CASES, st.sampled_from([0.25, 2.0, 8.0]), st.sampled_from([-4.0, 0.0, 16.0]))
def test_platt_does_not_depend_on_the_unit_of_the_logits(
    cases: list[tuple[float, bool]], scale: float, shift: float
) -> None:
    """Powers of two, so that the logits themselves are not rounded."""
    logits, truth = drawn(cases)
    moved = logits * np.float32(scale) + np.float32(shift)
    one, other = platt(logits, truth), platt(moved, truth)
    assume(one.slope > MIN_SLOPE and other.slope > MIN_SLOPE)
    assert np.allclose(one.probability(logits), other.probability(moved), atol=1e-3)


@few
@given(CASES)
def test_isotonic_is_scikit_learns(cases: list[tuple[float, bool]]) -> None:
    logits, truth = drawn(cases)
    edge = 1 / (len(truth) + 2)
    theirs = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip")
    between = np.linspace(-6, 6, 97)
    expected = theirs.fit(logits.astype(np.float64), truth).predict(between)
    assert np.allclose(isotonic(logits, truth).probability(between), expected)


@few
@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.booleans()), min_size=2, max_size=60),
    st.sampled_from(["sensitivity", "specificity"]),
    st.floats(0.01, 1.0),
)
@example([(0.5, True), (0.5, False)], "specificity", 1.0)
@example([(0.0, True), (0.0, False)], "sensitivity", 1.0)
def test_a_threshold_reaches_its_target_at_the_least_cost(
    cases: list[tuple[float, bool]], kind: str, wanted: float
) -> None:
    p = np.array([case[0] for case in cases])
    truth = np.array([case[1] for case in cases])
    assume(truth.any() and not truth.all())

    def rates(threshold: float) -> tuple[float, float]:
        return float((p[truth] >= threshold).mean()), float((p[~truth] < threshold).mean())

    target = Target.parse(f"{kind}={wanted!r}")
    found = threshold_for(target, p, truth.astype(np.uint8))
    assert 0 <= found <= 1
    mine, cost = (0, 1) if kind == "sensitivity" else (1, 0)
    assert rates(found)[mine] >= wanted - 1e-12
    reaching = [rates(t)[cost] for t in [*p, 1.0] if rates(t)[mine] >= wanted]
    assert rates(found)[cost] >= max(reaching) - 1e-12


@few
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1)), min_size=2, max_size=9, unique=True))
def test_points_that_are_not_monotone_are_refused(points: list[tuple[float, float]]) -> None:
    steps = list(pairwise(points))
    if all(a[0] < b[0] and a[1] <= b[1] for a, b in steps):
        assert Isotonic(tuple(points)).points == tuple(points)
    else:
        with pytest.raises(ValidationError):
            Isotonic(tuple(points))
