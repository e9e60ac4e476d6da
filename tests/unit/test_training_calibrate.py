"""The rules of calibration: which method, which target, which data are too few."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from classifier.bundle import MANIFEST, load_bundle
from classifier.calibration import MAX_POINTS, Calibration, Isotonic
from classifier.errors import BundleRefused
from training.calibrate import (
    ISOTONIC_CASES,
    ISOTONIC_IMAGES,
    Target,
    choose_method,
    isotonic,
    temperature,
    threshold_for,
)
from training.dataset import Case, LabelledImages
from training.errors import TargetUnreachable, TooFewCases, UnknownFinding
from training.evaluate import evaluate
from training.figures import expected_calibration_error
from training.recalibrate import check_cases, crossfit, recalibrate
from training.subgroups import group_of, subgroups


def made(
    count: int, slope: float, intercept: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, count).astype(np.float32)
    share = 1 / (1 + np.exp(-(slope * logits + intercept)))
    return logits, (random.random(count) < share).astype(np.uint8)


def cases(labels: list[str], images_of_a_patient: int = 1, **columns: str) -> LabelledImages:
    return LabelledImages(
        Path("some"),
        tuple(
            Case(Path(f"{i}.png"), f"p{i // images_of_a_patient}", frozenset({label}), "0", columns)
            for i, label in enumerate(labels)
        ),
    )


def test_temperature_finds_the_slope_that_made_the_labels() -> None:
    found = temperature(*made(40_000, 0.6, 0.0))
    assert found.slope == pytest.approx(0.6, abs=0.03)
    assert found.intercept == 0.0


def test_isotonic_mends_what_platt_cannot_and_stays_short() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, 60_000)
    share = np.where(logits > 0, 0.7, 0.2) + 0.02 * np.tanh(logits)
    truth = (random.random(60_000) < share).astype(np.uint8)
    found = isotonic(logits, truth)
    assert len(found.points) <= MAX_POINTS
    p = found.probability(logits)
    assert 0 < p.min() < p.max() < 1
    assert np.abs(p - share).mean() < 0.02


@pytest.mark.parametrize(
    ("images", "positives", "chosen"),
    [
        (ISOTONIC_IMAGES, ISOTONIC_CASES, "isotonic"),
        (ISOTONIC_IMAGES, ISOTONIC_CASES - 1, "platt"),
        (ISOTONIC_IMAGES - 1, ISOTONIC_CASES, "platt"),
        (ISOTONIC_IMAGES, ISOTONIC_IMAGES - ISOTONIC_CASES + 1, "platt"),
    ],
)
def test_isotonic_only_where_the_data_suffice(images: int, positives: int, chosen: str) -> None:
    truth = (np.arange(images) < positives).astype(np.uint8)
    assert choose_method("auto", truth) == chosen
    assert choose_method("temperature", truth) == "temperature"
    if chosen == "isotonic":
        assert choose_method("isotonic", truth) == "isotonic"
    else:
        with pytest.raises(TooFewCases, match=f"at least {ISOTONIC_IMAGES} images.*platt"):
            choose_method("isotonic", truth)


@pytest.mark.parametrize(
    "text",
    ["", "sens", "sensitivity", "sensitivity=0", "specificity=1.1", "youden=1", "sensitivity=nan"],
)
def test_a_target_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="youden, sensitivity=X"):
        Target.parse(text)


def test_a_specificity_that_no_threshold_reaches_is_said() -> None:
    p, truth = np.array([1.0, 1.0, 0.2]), np.array([0, 1, 0], dtype=np.uint8)
    assert threshold_for(Target("specificity", 0.5), p, truth) > 0.2
    with pytest.raises(TargetUnreachable, match=r"specificity=0\.9"):
        threshold_for(Target("specificity", 0.9), p, truth)


def test_cross_fitting_shows_the_error_that_a_fit_on_all_hides() -> None:
    """Isotonic regression on 60 images of pure noise: calibrated on them, and on no others."""
    random = np.random.default_rng(3)
    logits, truth = random.normal(0, 1, 60), (np.arange(60) % 2).astype(np.uint8)
    hidden = expected_calibration_error(isotonic(logits, truth).probability(logits), truth)
    patients = np.arange(60).astype(str)
    honest, thresholds = crossfit(logits, truth, patients, "isotonic", Target())
    assert hidden < 0.03
    assert expected_calibration_error(honest, truth) > hidden + 0.05
    assert len(np.unique(thresholds)) > 1


def test_cross_fitting_keeps_a_patient_on_one_side() -> None:
    """With each patient's images alike, a patient on both sides would be recognised."""
    logits, truth = made(50, 0.0, 0.0, seed=4)
    patients = np.arange(50).astype(str)
    once, _ = crossfit(logits, truth, patients, "platt", Target())
    thrice, _ = crossfit(
        np.repeat(logits, 3), np.repeat(truth, 3), np.repeat(patients, 3), "platt", Target()
    )
    for copies in thrice.reshape(50, 3):
        assert len(set(copies)) == 1
    assert once.shape == (50,)


ALL = ["Pneumonia", "Infiltration", "Atelectasis", "Effusion", "Nodule"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (cases(ALL * 9), "at least 50 usable images. Received: 45"),
        (cases(["Pneumonia"] * 60), "pneumonia .60 of 60 patients and 0 of 0 patients"),
        (cases([*ALL * 12, "Hernia"]), None),
        (cases(ALL[:4] * 15), r"images: nodule_or_mass \(0 of 0 patients and 60 of 60 patients\)"),
        (cases(sorted(ALL * 12), 3), r"pneumonia \(12 of 4 patients and 48 of 16 patients\)"),
        (cases(ALL[:4] * 15 + ["Mass"] * 9), r"nodule_or_mass \(9 of 9 patients"),
    ],
)
def test_data_that_cannot_carry_a_calibration_are_refused(
    data: LabelledImages, words: str | None
) -> None:
    if words is None:
        check_cases(load_bundle(), data)
    else:
        with pytest.raises(TooFewCases, match=words):
            check_cases(load_bundle(), data)


def test_what_cannot_be_is_refused_before_any_image_is_read(tmp_path: Path) -> None:
    bundle, data, out = load_bundle(), cases(ALL * 12), tmp_path / "new"
    with pytest.raises(TooFewCases, match="1000 images"):
        recalibrate(bundle, data, out, method="isotonic")
    with pytest.raises(UnknownFinding, match=r"Allowed: pneumonia.*Received: heart"):
        recalibrate(bundle, data, out, targets={"heart": Target()})
    with pytest.raises(UnknownFinding, match=r"Allowed: pneumonia.*Received: heart"):
        evaluate(bundle, data, prevalence={"heart": 0.1})
    with pytest.raises(BundleRefused, match="never edited"):
        recalibrate(bundle, data, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_default_bundle_was_written_before_isotonic_and_loads() -> None:
    bundle = load_bundle()
    stored = json.loads((bundle.folder / MANIFEST).read_bytes())
    assert stored["format"] == 1
    for finding, written in zip(bundle.manifest.findings, stored["findings"], strict=True):
        assert isinstance(finding.calibration, Calibration)
        assert finding.calibration.slope == written["calibration"]["slope"]


def test_isotonic_is_flat_outside_of_its_points() -> None:
    found = Isotonic(((-1.0, 0.1), (1.0, 0.5)))
    p = found.probability(np.array([-9.0, -1.0, 0.0, 1.0, 9.0]))
    assert p == pytest.approx([0.1, 0.1, 0.3, 0.5, 0.5])


@pytest.mark.parametrize(
    ("column", "text", "group"),
    [
        ("view", "ap", "AP"), ("view", "LL", "other"), ("view", " ", "not stated"),
        ("sex", "F", "F"), ("sex", "male", "M"), ("sex", "O", "other"),
        ("age", "17", "under 18"), ("age", "018Y", "18 to 39"), ("age", "006M", "under 18"),
        ("age", "59.5", "40 to 59"), ("age", "60", "60 and over"), ("age", "414", "not stated"),
        ("age", "old", "not stated"),
    ],
)  # fmt: skip
def test_the_group_of_a_value(column: str, text: str, group: str) -> None:
    assert group_of(column, text) == group


def test_every_image_is_in_one_group_of_each_column_there_is() -> None:
    found = subgroups(cases(ALL, view="PA", age=""))
    assert {column: list(groups) for column, groups in found.items()} == {
        "view": ["PA"],
        "age": ["not stated"],
    }
    assert found["view"]["PA"].tolist() == [0, 1, 2, 3, 4]
