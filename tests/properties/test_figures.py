"""Figures equal scikit-learn's, on the images and on every redraw of the patients."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from training.figures import (
    RESAMPLES,
    Scored,
    finding_figures,
    group_figures,
    interval,
    resamples,
    weighted_auc,
)

SHARES = st.integers(0, 32).map(lambda n: n / 32)  # with ties
CASES = st.lists(
    st.tuples(SHARES, st.booleans(), st.integers(0, 9)), min_size=4, max_size=60
).filter(lambda cases: 0 < sum(case[1] for case in cases) < len(cases))


def columns(cases: list[tuple[float, bool, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    p, truth, third = zip(*cases, strict=True)
    return np.array(p), np.array(truth, dtype=np.uint8), np.array(third)


@settings(max_examples=60, deadline=None)
@given(CASES, SHARES)
def test_each_value_is_scikit_learns(cases: list[tuple[float, bool, int]], limit: float) -> None:
    p, truth, patients = columns(cases)
    decided = (p >= limit).astype(np.uint8)
    found, _ = finding_figures(p, p, decided, truth, resamples(patients.astype(str))[:40])
    assert found.auc is not None
    assert np.isclose(found.auc.value, roc_auc_score(truth, p))
    assert np.isclose(found.brier.value, brier_score_loss(truth, p))
    expected = {
        "accuracy": accuracy_score(truth, decided),
        "balanced_accuracy": balanced_accuracy_score(truth, decided),
        "sensitivity": recall_score(truth, decided),
        "specificity": recall_score(truth, decided, pos_label=0),
        "ppv": precision_score(truth, decided, zero_division=np.nan),
        "npv": precision_score(truth, decided, pos_label=0, zero_division=np.nan),
    }
    for name, value in expected.items():
        rate = found.rates[name]
        assert (rate is None) == bool(np.isnan(value))
        assert rate is None or np.isclose(rate.value, value)
        assert rate is None or 0 <= rate.low <= rate.value <= rate.high <= 1


@settings(deadline=None)
@given(CASES)
def test_the_auc_of_a_redraw_is_scikit_learns_with_weights(
    cases: list[tuple[float, bool, int]],
) -> None:
    p, truth, weights = columns(cases)
    assume(0 < (weights * truth).sum() < weights.sum())
    found = weighted_auc(p, truth, weights[np.newaxis].astype(np.float64))[0]
    assert np.isclose(found, roc_auc_score(truth, p, sample_weight=weights))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=40), st.integers(0, 3))
def test_a_redraw_takes_all_images_of_a_patient_or_none(owners: list[int], seed: int) -> None:
    patients = np.array(owners).astype(str)
    draws = resamples(patients, seed)
    assert draws.shape == (RESAMPLES, len(owners))
    assert (draws == resamples(patients, seed)).all()
    names, first = np.unique(patients, return_index=True)
    for name, image in zip(names, first, strict=True):
        assert (draws[:, patients == name] == draws[:, [image]]).all()
    assert (draws[:, first].sum(axis=1) == len(names)).all()


@settings(max_examples=40, deadline=None)
@given(CASES, st.floats(0.01, 0.99))
def test_ppv_at_a_stated_prevalence_is_bayes(
    cases: list[tuple[float, bool, int]], prevalence: float
) -> None:
    p, truth, patients = columns(cases)
    decided = (p >= 0.5).astype(np.uint8)
    draws = resamples(patients.astype(str))[:40]
    found, _ = finding_figures(p, p, decided, truth, draws, prevalence)
    share = np.where(truth == 1, prevalence / truth.mean(), (1 - prevalence) / (1 - truth.mean()))
    expected = precision_score(truth, decided, sample_weight=share, zero_division=np.nan)
    ppv = found.rates["ppv"]
    assert ppv is None if np.isnan(expected) else ppv is not None
    assert ppv is None or np.isclose(ppv.value, expected)


def test_a_group_is_measured_as_if_it_were_alone_and_the_small_is_named() -> None:
    random = np.random.default_rng(0)
    p = random.random((80, 2))
    truth = np.stack([np.arange(80) % 2, np.arange(80) >= 38], axis=1).astype(np.uint8)
    patients = np.arange(80).astype(str)
    scored = Scored(("a", "b"), p, p, np.array([0.5, 0.5]), truth, patients)
    group = group_figures(scored, resamples(patients), np.arange(40), needed=10)
    assert set(group.findings) == {"a"}
    assert group.too_few == {"b": (2, 38)}
    auc = group.findings["a"].auc
    assert auc is not None
    assert auc.value == roc_auc_score(truth[:40, 0], p[:40, 0])
    assert group.macro_auc is not None
    assert group.macro_auc.value == auc.value
    assert interval(float("nan"), np.zeros(3)) is None
