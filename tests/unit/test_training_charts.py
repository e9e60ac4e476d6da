"""Drift is flagged soon, and false alarms are as rare as promised, over all charts together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtri  # type: ignore[import-untyped]

from classifier.measures import greys_of
from tests.drifting import CHANGES, CHARTS, copies, count_alarms, delays, scores, watch
from training.charts import Charts, Normal, limits_for, normal_of, normal_score
from training.errors import TooFewCases
from training.references import reference_of


def measures(images: int, random: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    """(images, CHARTS), skewed and correlated with 0.4, shifted by so many deviations."""
    common = random.normal(size=(images, 1))
    normal = np.sqrt(0.4) * common + np.sqrt(0.6) * random.normal(size=(images, CHARTS))
    return np.exp(0.5 * (normal + shift))


def named(rows: np.ndarray) -> list[dict[str, float]]:
    return [{f"m{i}": float(value) for i, value in enumerate(row)} for row in rows]


def test_at_most_one_false_alarm_in_ten_thousand_images_over_all_charts() -> None:
    """The promise: each of 40 streams has a reference of its own 1,394 images."""
    random, found = np.random.default_rng(0), []
    for _ in range(40):
        normal = normal_of(named(measures(1394, random)))
        found.append(vector_scores(normal, measures(10_000, random)))
    alarms = count_alarms(np.stack(found, axis=1), limits_for(1394, CHARTS))
    assert alarms.mean() <= 1.0
    assert alarms.max() <= 6


def vector_scores(normal: Normal, values: np.ndarray) -> np.ndarray:
    """`normal_score` of (images, measures) at once, for measures without ties."""
    shares = np.linspace(0, 1, 41)
    columns = [
        np.clip(ndtri(np.interp(values[:, i], q, shares)), -3, 3)
        for i, q in enumerate(normal.quantiles.values())
    ]
    return np.stack(columns, axis=1)


def test_scores_at_once_are_the_scores() -> None:
    random = np.random.default_rng(7)
    normal, fresh = normal_of(named(measures(500, random))), measures(200, random)
    assert vector_scores(normal, fresh) == pytest.approx(scores(normal, named(fresh)), abs=1e-6)


def test_the_limit_itself_is_that_of_siegmund() -> None:
    """With scores that are exactly normal and a reference that is exact, alarms are as allowed."""
    random = np.random.default_rng(1)
    often = limits_for(10**9, CHARTS, false_alarms=10 / 10_000)
    alarms = count_alarms(random.normal(size=(10_000, 40, CHARTS)), often)
    assert 6 <= alarms.mean() <= 14


def test_a_shift_of_one_deviation_is_flagged_within_fifty_images() -> None:
    random = np.random.default_rng(2)
    normal, found = normal_of(named(measures(1394, random))), []
    for _ in range(30):
        quiet, drifted = measures(50, random), measures(60, random, 1.0)
        stream = [("CR1", image) for image in named(np.concatenate([quiet, drifted]))]
        alarms = watch(normal, stream)
        assert alarms[0][2].direction == "higher"
        found.append(alarms[0][0] - 49)
    assert max(found) <= 50


@pytest.fixture(scope="module")
def greys() -> list[np.ndarray]:
    return copies(600)


def test_a_change_is_flagged_within_fifty_images_and_nothing_else_is(
    greys: list[np.ndarray],
) -> None:
    """Of 40 streams each; the table is that of `python -m tests.drifting`.

    A gamma alone may take longer: the copies differ by as much among themselves.
    """
    found, false = delays(greys[:300], greys[300:], 40)
    for name, first in found.items():
        assert (first > 0).all(), name
        gamma = name.startswith("gamma")
        assert np.median(first) <= 50 if gamma else first.max() <= 50, (name, first)
    assert false <= 1.0


def test_the_other_stations_stay_silent(greys: list[np.ndarray]) -> None:
    normal = normal_of([greys_of(grey) for grey in greys[:300]])
    stream = []
    for number, grey in enumerate(greys[300:]):
        odd = number % 2 and number >= 100
        shown = CHANGES["inverted"](grey) if odd else grey
        stream.append(("CR1" if number % 2 else "DX2", greys_of(shown)))
    alarms = watch(normal, stream)
    assert {station for _, station, _ in alarms} == {"CR1"}
    assert 100 <= alarms[0][0] <= 200


def test_a_state_that_was_stored_goes_on_where_it_was() -> None:
    random = np.random.default_rng(4)
    normal = normal_of(named(measures(300, random)))
    whole = parted = Charts()
    found = [0, 0]
    for image in named(measures(120, random, 0.8)):
        whole, left = whole.seen(normal, image)
        found[0] += len(left)
        parted, left = parted.seen(normal, image)
        found[1] += len(left)
        told = json.dumps(parted.as_json())
        assert len(told) < 3000
        parted = Charts.from_json(json.loads(told))
    assert found[0] == found[1] > 0


def test_what_is_missing_is_not_watched_and_few_values_do_no_harm() -> None:
    random = np.random.default_rng(5)
    images = [{"ap": float(random.random() < 0.4), "size": 12.0} for _ in range(400)]
    normal = normal_of(images)
    again = [("CR1", {"ap": float(random.random() < 0.4), "size": 12.0}) for _ in range(3000)]
    assert watch(normal, again) == ()
    assert watch(normal, [("CR1", {})] * 100) == ()
    all_ap = watch(normal, [("CR1", {"ap": 1.0, "size": 12.0})] * 60)
    assert all_ap[0][2].measure == "ap"
    other = watch(normal, [("CR1", {"ap": float(i % 2), "size": 11.0}) for i in range(50)])
    assert {(left.measure, left.direction) for _, _, left in other} == {("size", "lower")}


def test_a_reference_of_few_images_is_refused() -> None:
    with pytest.raises(TooFewCases, match=r"at least 200 images\. Received: 3"):
        reference_of([{"brightness": 1.0}] * 3)


def test_the_quantiles_are_numpys() -> None:
    values = np.random.default_rng(6).normal(size=333)
    found = normal_of([{"x": float(value)} for value in values]).quantiles["x"]
    assert found == pytest.approx(np.quantile(values, np.linspace(0, 1, 41)))


@given(st.lists(st.floats(-5, 5), min_size=41, max_size=41), st.floats(-6, 6))
def test_a_score_is_within_its_bounds_and_grows_with_the_value(
    quantiles: list[float], value: float
) -> None:
    known = sorted(quantiles)
    assert -3 <= normal_score(known, value) <= normal_score(known, value + 1) <= 3
