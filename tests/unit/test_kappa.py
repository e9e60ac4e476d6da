"""Cohen's kappa against scikit-learn's, and its interval against what repeated draws show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from daemon.kappa import Kappa, cohen_kappa

COUNT = st.integers(0, 200)


@given(COUNT, COUNT, COUNT, COUNT)
def test_it_is_the_same_as_scikit_learns(a: int, b: int, c: int, d: int) -> None:
    found = cohen_kappa(a, b, c, d)
    images = a + b + c + d
    if images in (0, a, d):  # both say the same of all: scikit-learn has no number either
        assert found is None
        return
    first = [1] * a + [1] * b + [0] * c + [0] * d
    second = [1] * a + [0] * b + [1] * c + [0] * d
    assert found is not None
    assert found.value == pytest.approx(cohen_kappa_score(first, second))
    assert -1 <= found.low <= found.value <= found.high <= 1


def test_an_example_by_hand() -> None:
    """Observed 0.7, by chance 0.5: 20 and 15 of 50 agreed."""
    found = cohen_kappa(20, 5, 10, 15)
    assert found is not None
    assert found.value == pytest.approx(0.4)


def test_full_and_reversed_agreement() -> None:
    assert cohen_kappa(10, 0, 0, 10) == Kappa(1.0, 1.0, 1.0)
    reversed_ = cohen_kappa(0, 10, 10, 0)
    assert reversed_ is not None
    assert reversed_.value == -1.0


def test_the_interval_holds_the_truth_in_about_95_of_100_draws() -> None:
    shares = np.array([0.30, 0.08, 0.12, 0.50])
    truth = (0.8 - (0.38 * 0.42 + 0.62 * 0.58)) / (1 - (0.38 * 0.42 + 0.62 * 0.58))
    draws = np.random.default_rng(7).multinomial(300, shares, size=2000)
    held = 0
    for counts in draws:
        found = cohen_kappa(*(int(count) for count in counts))
        assert found is not None
        held += found.low <= truth <= found.high
    assert 0.93 <= held / len(draws) <= 0.97
