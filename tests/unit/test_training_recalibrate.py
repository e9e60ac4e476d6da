"""Recalibration from few reviews: what 200 mend, what 50 may change, what cannot be carried.

Log odds are normal, with the means and deviations that the default bundle gave out of fold with
and without pleural effusion, rounded.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from classifier.bundle import load_bundle
from classifier.calibration import Calibration, Isotonic
from training.calibrate import anchored, fit_calibration, platt
from training.dataset import Case, LabelledImages
from training.errors import TooFewCases
from training.figures import expected_calibration_error
from training.recalibrate import check_cases

SERVING = Calibration(0.9, -1.2)
WITHOUT, WITH, SPREAD = -1.6, -0.4, 1.0
SHIFTS = {
    "four times the prevalence": (0.10, 0.40, 1.0, 0.0),
    "a sixth of the prevalence": (0.40, 0.07, 1.0, 0.0),
    "another brightness": (0.25, 0.25, 1.0, -1.6),
    "another window": (0.25, 0.25, 1.8, 1.4),
}
"""Prevalence before and after, and what becomes of a log odd: times, and plus."""


def scores(
    count: int, prevalence: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Raw logits and truth."""
    truth = (random.random(count) < prevalence).astype(np.uint8)
    return random.normal(np.where(truth == 1, WITH, WITHOUT), SPREAD), truth


def shifted(name: str, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    _, after, scale, move = SHIFTS[name]
    logits, truth = scores(count, after, random)
    return scale * logits + move, truth


def serving_of(name: str) -> Calibration:
    """Calibrated where the bundle comes from."""
    return platt(*scores(20_000, SHIFTS[name][0], np.random.default_rng(99)))


@pytest.mark.parametrize("name", list(SHIFTS))
def test_two_hundred_reviews_bring_the_error_back_to_a_twentieth(name: str) -> None:
    """The promise, on average over draws of the reviews; measured on 20,000 others."""
    random, serving = np.random.default_rng(0), serving_of(name)
    others, truth = shifted(name, 20_000, random)
    before = expected_calibration_error(serving.probability(others), truth)
    after = [
        expected_calibration_error(
            anchored(*shifted(name, 200, random), serving).probability(others), truth
        )
        for _ in range(40)
    ]
    assert before >= 0.10
    assert np.mean(after) <= 0.05


def test_few_reviews_of_an_unchanged_world_do_less_harm_than_platt() -> None:
    random, harm = np.random.default_rng(1), []
    serving = platt(*scores(20_000, 0.2, random))
    others, truth = scores(20_000, 0.2, random)
    for _ in range(60):
        logits, reviewed = scores(50, 0.2, random)
        if reviewed.sum() >= 2:
            harm.append(
                [
                    np.mean((fitted.probability(others) - truth) ** 2)
                    for fitted in (anchored(logits, reviewed, serving), platt(logits, reviewed))
                ]
            )
    assert np.mean(harm, axis=0)[0] < np.mean(harm, axis=0)[1]


def test_many_reviews_outweigh_the_anchor() -> None:
    random = np.random.default_rng(2)
    logits, truth = shifted("another window", 20_000, random)
    free, held = platt(logits, truth), anchored(logits, truth, SERVING)
    assert held.slope == pytest.approx(free.slope, rel=0.02)
    assert held.intercept == pytest.approx(free.intercept, abs=0.05)


def test_the_order_is_kept_whatever_the_reviews_say() -> None:
    logits = np.linspace(-2, 2, 60)
    against = (logits < 0).astype(np.uint8)
    assert anchored(logits, against, SERVING).slope > 0


def test_an_isotonic_bundle_is_no_anchor() -> None:
    logits, truth = scores(300, 0.3, np.random.default_rng(3))
    flat = Isotonic(((-1.0, 0.1), (1.0, 0.6)))
    assert fit_calibration("anchored", logits, truth, flat) == platt(logits, truth)
    assert fit_calibration("anchored", logits, truth, SERVING) != platt(logits, truth)


def reviewed(labels: list[str]) -> LabelledImages:
    made = (
        Case(Path(f"{i}.png"), f"p{i}", frozenset({label}), "0", {})
        for i, label in enumerate(labels)
    )
    return LabelledImages(Path("reviews"), tuple(made))


ALL = ["Pneumonia", "Infiltration", "Atelectasis", "Effusion", "Nodule"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (reviewed(ALL[:3]), "at least 50 usable images. Received: 3"),
        (reviewed(["Pneumonia"] * 60), "pneumonia .60 of 60 patients and 0 of 0 patients"),
        (reviewed(["No Finding"] * 60), "at least 5 positive and 5 negative.*pneumonia .0 of 0"),
        (reviewed(ALL[:4] * 13), r"images: nodule_or_mass \(0 of 0 patients and 52 of 52"),
    ],
)
def test_what_reviews_lack_is_named(data: LabelledImages, words: str) -> None:
    with pytest.raises(TooFewCases, match=words):
        check_cases(load_bundle(), data, "anchored")


def test_fifty_reviews_carry_it_where_each_finding_has_five() -> None:
    assert check_cases(load_bundle(), reviewed(ALL * 10), "anchored") == ["anchored"] * 5
    few = reviewed(ALL[:4] * 11 + ["Mass"] * 6)
    assert check_cases(load_bundle(), few, "anchored") == ["anchored"] * 5
    with pytest.raises(TooFewCases):
        check_cases(load_bundle(), few, "platt")
