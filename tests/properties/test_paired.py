"""Paired statistics against what is known to be right: pairs counted one by one, scikit-learn, a
bootstrap of patients, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import roc_auc_score

from tests.candidates import World, candidates, everywhere
from training.figures import resamples, weighted_auc
from training.paired import clustered_mean, delong, holm, mcnemar, mean_difference

CASES = st.lists(
    st.tuples(st.integers(0, 8), st.integers(0, 8), st.booleans()), min_size=4, max_size=40
).filter(lambda cases: 2 <= sum(case[2] for case in cases) <= len(cases) - 2)


def by_pairs(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The covariance as DeLong et al. define it, from all pairs; (models, models)."""
    hit = truth == 1
    gaps = scores[:, hit][:, :, np.newaxis] - scores[:, ~hit][:, np.newaxis]
    kernel = (gaps > 0) + 0.5 * (gaps == 0)
    above, below = kernel.mean(axis=2), kernel.mean(axis=1)
    return np.cov(above) / above.shape[1] + np.cov(below) / below.shape[1]


@settings(max_examples=80, deadline=None)
@given(CASES)
def test_with_one_image_a_patient_it_is_delongs(cases: list[tuple[int, int, bool]]) -> None:
    one, two, truth = (np.array(column) for column in zip(*cases, strict=True))
    scores, bits = np.stack([one, two]).astype(float), truth.astype(np.uint8)
    found = delong(scores, bits, np.arange(len(bits)))
    assert np.allclose(found.values, [roc_auc_score(bits, each) for each in scores])
    assert np.allclose(found.covariance, by_pairs(scores, bits))


@settings(max_examples=40, deadline=None)
@given(CASES, st.integers(2, 4))
def test_copies_of_an_image_add_no_knowledge(
    cases: list[tuple[int, int, bool]], copies: int
) -> None:
    """Obuchowski's sums: the same images several times over, of the same patients."""
    one, two, truth = (np.array(column) for column in zip(*cases, strict=True))
    scores, bits = np.stack([one, two]).astype(float), truth.astype(np.uint8)
    once = delong(scores, bits, np.arange(len(bits)))
    often = delong(np.repeat(scores, copies, axis=1), np.repeat(bits, copies),
                   np.repeat(np.arange(len(bits)), copies))  # fmt: skip
    assert np.allclose(once.values, often.values)
    assert np.allclose(once.covariance, often.covariance)


@pytest.mark.parametrize("patients", [400, 150])
def test_errors_are_those_of_a_bootstrap_of_patients(patients: int) -> None:
    world = World(patients=patients, within=0.6)
    serving, candidate, _ = candidates(world, everywhere(0.02), np.random.default_rng(7))
    codes = np.unique(serving.patients, return_inverse=True)[1]
    draws = resamples(serving.patients).astype(float)
    single, redrawn = [], []
    for column in range(5):
        truth = serving.targets[:, column]
        scores = np.stack([serving.scores[:, column], candidate.scores[:, column]])
        single.append(delong(scores, truth, codes))
        gaps = weighted_auc(scores[1], truth, draws) - weighted_auc(scores[0], truth, draws)
        redrawn.append(gaps)
        assert single[-1].difference().error == pytest.approx(gaps.std(), rel=0.15)
    mean = mean_difference(single)
    assert mean.error == pytest.approx(np.mean(redrawn, axis=0).std(), rel=0.12)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(0), []
    world = World(images=200, patients=120, prevalence=(0.2,), aucs=(0.75,), within=0.6)
    for _ in range(400):
        serving, candidate, _ = candidates(world, (0.03,), random)
        codes = np.unique(serving.patients, return_inverse=True)[1]
        scores = np.stack([serving.scores[:, 0], candidate.scores[:, 0]])
        found = delong(scores, serving.targets[:, 0], codes).difference().interval()
        held.append(found.low <= 0.03 <= found.high)
    assert 0.92 <= np.mean(held) <= 0.98


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_exact_test_of_the_discordant(pairs: list[tuple[bool, bool]]) -> None:
    one, two = (np.array(side, dtype=np.uint8) for side in zip(*pairs, strict=True))
    lost, won = one & (1 - two), two & (1 - one)
    worse, better = mcnemar(lost, won, np.arange(len(one)))
    b, c = int(lost.sum()), int(won.sum())
    if b + c:
        assert worse == pytest.approx(binomtest(b, b + c, alternative="greater").pvalue)
        assert better == pytest.approx(binomtest(c, b + c, alternative="greater").pvalue)
    else:
        assert worse == better == 1.0


def test_a_patient_of_many_images_counts_once_in_mcnemar() -> None:
    lost = np.ones(20, dtype=np.uint8)
    assert mcnemar(lost, 1 - lost, np.zeros(20, dtype=np.int64))[0] == 0.5
    assert mcnemar(lost, 1 - lost, np.arange(20))[0] < 1e-5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_between_the_p_value_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    for raw, each in zip(p, adjusted, strict=True):
        assert raw <= each <= min(1.0, raw * len(p)) + 1e-12
    assert min(adjusted) == min(1.0, min(p) * len(p))


def test_the_mean_of_patients_has_the_error_of_patients() -> None:
    values = np.random.default_rng(0).normal(size=100)
    once = clustered_mean(values, np.arange(100))
    assert once.error == pytest.approx(values.std(ddof=1) / 10)
    again = clustered_mean(np.repeat(values, 3), np.repeat(np.arange(100), 3))
    assert again.error == pytest.approx(once.error)
    assert once.p_above() == pytest.approx(1 - once.p_below())
    assert once.p_above() == pytest.approx(norm.sf(once.value / once.error), abs=0.01)
