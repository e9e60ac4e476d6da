"""Drift is flagged soon, and false alarms are as rare as promised, over all charts together."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from classifier.bundle import Reference
from training.errors import TooFewCases
from training.watch import (
    Charts,
    count_alarms,
    limits_for,
    measures_of,
    normal_scores,
    reference_of,
    watch,
)

CHARTS = 12
"""Six of the image, its distance, five scores: as the default bundle is watched."""

INVERTED, WINDOW, FLAT = "inverted", "another window", "a lower contrast"


def measures(images: int, random: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    """(images, CHARTS), skewed and correlated with 0.4, shifted by so many deviations."""
    common = random.normal(size=(images, 1))
    normal = np.sqrt(0.4) * common + np.sqrt(0.6) * random.normal(size=(images, CHARTS))
    return np.exp(0.5 * (normal + shift))


def named(rows: np.ndarray) -> list[dict[str, float]]:
    return [{f"m{i}": float(value) for i, value in enumerate(row)} for row in rows]


def test_at_most_one_false_alarm_in_ten_thousand_images_over_all_charts() -> None:
    """The promise: each of 60 streams has a reference of its own 1,394 images."""
    random, streams = np.random.default_rng(0), []
    for _ in range(60):
        reference = reference_of(named(measures(1394, random)))
        fresh = measures(10_000, random)
        streams.append(
            np.stack(
                [normal_scores(q, fresh[:, i]) for i, q in enumerate(reference.measures.values())],
                axis=1,
            )
        )
    alarms = count_alarms(np.stack(streams, axis=1), limits_for(reference))
    assert alarms.mean() <= 1.0
    assert alarms.max() <= 6


def test_the_limit_itself_is_that_of_siegmund() -> None:
    """With scores that are exactly normal and a reference that is exact, alarms are as allowed."""
    random = np.random.default_rng(1)
    exact = Reference(10**9, {f"m{i}": (0.0, 1.0) for i in range(CHARTS)})
    often = limits_for(exact, false_alarms=10 / 10_000)
    alarms = count_alarms(random.normal(size=(10_000, 40, CHARTS)), often)
    assert 6 <= alarms.mean() <= 14


def test_a_shift_of_one_deviation_is_flagged_within_fifty_images() -> None:
    random = np.random.default_rng(2)
    reference = reference_of(named(measures(1394, random)))
    delays = []
    for _ in range(30):
        quiet, drifted = measures(50, random), measures(60, random, 1.0)
        stream = [("CR1", image) for image in named(np.concatenate([quiet, drifted]))]
        alarms = watch(reference, stream)
        assert alarms[0][1].direction == "higher"
        delays.append(alarms[0][0] - 49)
    assert max(delays) <= 50


@pytest.fixture(scope="module")
def greys() -> list[np.ndarray]:
    """600 changed copies of the demo radiographs, in the order of chance."""
    random = np.random.default_rng(0)
    folder = Path(__file__).parents[2] / "deploy" / "demo"
    small = [
        cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (128, 128),
                   interpolation=cv2.INTER_AREA)
        for path in sorted(folder.glob("*.png"))
    ]  # fmt: skip
    made = []
    for _ in range(600):
        image = small[random.integers(len(small))]
        matrix = cv2.getRotationMatrix2D((64, 64), random.uniform(-8, 8), random.uniform(0.95, 1.1))
        turned = cv2.warpAffine(image, matrix, (128, 128), borderMode=cv2.BORDER_REFLECT)
        gamma = np.exp(random.uniform(-0.3, 0.3))
        made.append(np.rint(255 * (turned / 255) ** gamma).astype(np.uint8))
    return made


def changed(grey: np.ndarray, how: str) -> np.ndarray:
    if how == INVERTED:
        return 255 - grey
    if how == WINDOW:  # half as wide, a little higher
        return np.clip((grey.astype(float) - 80) * 2, 0, 255).astype(np.uint8)
    return (60 + grey * 0.5).astype(np.uint8)


@pytest.mark.parametrize("how", [INVERTED, WINDOW, FLAT])
def test_a_station_that_changes_its_greys_is_flagged_within_fifty_images(
    greys: list[np.ndarray], how: str
) -> None:
    """The other stations stay silent."""
    reference = reference_of([measures_of(grey) for grey in greys[:300]])
    stream = []
    for number, grey in enumerate(greys[300:]):
        station = "CR1" if number % 2 else "DX2"
        odd = station == "CR1" and number >= 100
        stream.append((station, measures_of(changed(grey, how) if odd else grey)))
    alarms = watch(reference, stream)
    assert {alarm.station for _, alarm in alarms} == {"CR1"}
    first = alarms[0][0]
    assert first >= 100
    assert (first - 100) / 2 <= 50


def test_the_state_of_a_station_is_small_and_plain() -> None:
    random = np.random.default_rng(3)
    reference = reference_of(named(measures(300, random)))
    state = Charts("CR1")
    for image in named(measures(10, random)):
        state, _ = state.seen(reference, image)
    told = json.loads(json.dumps(asdict(state)))
    assert Charts(told["station"], told["sums"], told["counts"]).sums.keys() == state.sums.keys()
    assert len(json.dumps(asdict(state))) < 2000


def test_a_state_that_was_stored_goes_on_where_it_was() -> None:
    random = np.random.default_rng(4)
    reference = reference_of(named(measures(300, random)))
    images = named(measures(120, random, 0.8))
    whole = parted = Charts("CR1")
    found: list[int] = [0, 0]
    for image in images:
        whole, alarms = whole.seen(reference, image)
        found[0] += len(alarms)
        parted, alarms = parted.seen(reference, image)
        found[1] += len(alarms)
        told = json.loads(json.dumps(asdict(parted)))
        parted = Charts(
            "CR1",
            {name: tuple(value) for name, value in told["sums"].items()},
            {name: tuple(value) for name, value in told["counts"].items()},
        )
    assert found[0] == found[1] > 0


def test_what_is_missing_is_not_watched_and_few_values_do_no_harm() -> None:
    random = np.random.default_rng(5)
    images = [{"ap": float(random.random() < 0.4), "size": 12.0} for _ in range(400)]
    reference = reference_of(images)
    again = [("CR1", {"ap": float(random.random() < 0.4), "size": 12.0}) for _ in range(3000)]
    assert watch(reference, again) == ()
    assert watch(reference, [("CR1", {})] * 100) == ()
    all_ap = watch(reference, [("CR1", {"ap": 1.0, "size": 12.0})] * 60)
    assert all_ap[0][1].measure == "ap"
    other = watch(reference, [("CR1", {"ap": float(i % 2), "size": 11.0}) for i in range(50)])
    assert {(alarm.measure, alarm.direction) for _, alarm in other} == {("size", "lower")}


def test_a_reference_of_few_images_is_refused() -> None:
    with pytest.raises(TooFewCases, match=r"at least 200 images\. Received: 3"):
        reference_of([{"brightness": 1.0}] * 3)


def test_scores_are_watched_as_log_odds() -> None:
    grey = np.zeros((10, 10), dtype=np.uint8)
    found = measures_of(grey, view="ap", distance=1.5, probabilities={"pneumonia": 0.5, "x": 0.0})
    assert found["score_pneumonia"] == 0.0
    assert found["score_x"] < -13
    assert (found["frontal_ap"], found["distance"], found["contrast"]) == (1.0, 1.5, 0.0)
    assert all(np.isfinite(value) for value in found.values())
