"""`hilum evaluate` and `hilum calibrate` on real radiographs, through the real command."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from classifier.bundle import WEIGHTS, Bundle, load_bundle, pack_weights, write_bundle
from classifier.network import base_shapes, weight_shapes
from tests.harness import hilum
from tests.learning import quick
from tests.radiographs import anatomy

COPIES = 6  # of each radiograph, in the fixture `labelled`


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The default base with a small extension that nobody trained, which is quick."""
    default = load_bundle()
    architecture = replace(
        default.manifest.architecture, side=64, taps=("block5_conv3",), skips=(), members=1,
        block6_filters=4, block7_filters=4, dense_units=16,
    )  # fmt: skip
    random = np.random.default_rng(0)
    base = default.weights()
    weights = {
        name: base[name]
        if name in base_shapes()
        else random.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape).astype(np.float32)
        for name, shape in weight_shapes(architecture).items()
    }
    manifest = default.manifest.model_copy(
        update={
            "architecture": architecture,
            "graphs": {},
            "parity": {},
            "frontal": None,
            "replay": None,
            "name": "small",
        }
    )
    folder = tmp_path_factory.mktemp("bundles") / "small"
    return write_bundle(folder, manifest, {WEIGHTS: pack_weights(weights)})


def told(*arguments: str, status: int = 0) -> tuple[Any, str]:
    asked = hilum(*arguments)
    assert asked.returncode == status, asked.stderr
    assert "Traceback" not in asked.stderr
    return (json.loads(asked.stdout) if status == 0 else None), asked.stderr


def test_evaluate_measures_groups_and_leaves_pictures_and_a_card(
    small: Bundle, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found, errors = told(
        "evaluate", "--data", str(labelled), "--bundle", str(small.folder), "--out", str(out),
        "--prevalence", "pneumonia=0.05", "--json",
    )  # fmt: skip
    assert (found["images"], found["patients"]) == (12 * COPIES, 12 * COPIES)
    assert "absent.png" in errors
    assert any("absent.png" in file for file in found["unreadable"])
    pneumonia, effusion = found["findings"]["pneumonia"], found["findings"]["pleural_effusion"]
    assert (pneumonia["prevalence"], pneumonia["prevalence_is"]) == (0.05, "stated")
    assert effusion["prevalence"] == pytest.approx(1 / 6)
    for figures in found["findings"].values():
        for name in ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "ece", "brier"):
            interval = figures["intervals"][name]
            assert interval["low"] <= figures[name] == interval["value"] <= interval["high"]
    assert set(found["subgroups"]) == {"view", "sex", "age"}
    views = found["subgroups"]["view"]
    assert {name: group["images"] for name, group in views.items()} == {"AP": 36, "PA": 36}
    assert views["AP"]["findings"] == {}  # six images with each finding
    assert views["AP"]["too_few"]["pneumonia"] == {"positives": 6, "negatives": 30}

    for name in ("roc", "reliability", "confusion", "scores", "subgroups"):
        picture = cv2.imread(str(out / f"{name}.png"))
        assert min(picture.shape[:2]) > 300
        assert picture.std() > 5
    assert json.loads((out / "metrics.json").read_text()) == found
    markdown, page = ((out / f"model-card.{kind}").read_text() for kind in ("md", "html"))
    for text in (markdown, page):
        for words in (
            "Intended use", "Not a medical device", "mined from the text", "Adults only",
            "view", "Architecture", "Calibration and thresholds", "Subgroups", small.digest,
            "0.05 (stated)", "absent.png",
        ):  # fmt: skip
            assert words in text, words
    assert page.count("data:image/png;base64,") == markdown.count("![") == 5
    assert not re.search(r"(src|href)=.(?!data:)", page)


def test_calibrate_makes_a_new_version_with_the_same_weights(
    small: Bundle, labelled: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new"
    found, _ = told(
        "calibrate", "--data", str(labelled), "--bundle", str(small.folder), "--json",
        "--out", str(out), "--method", "temperature",
        "--target", "sensitivity=0.9", "--target", "pneumonia:specificity=0.8",
    )  # fmt: skip
    new = load_bundle(out)
    assert (new.folder / WEIGHTS).read_bytes() == (small.folder / WEIGHTS).read_bytes()
    assert new.manifest.version != small.manifest.version
    assert (found["bundle"], found["digest"]) == (new.version, new.digest)
    again = new.manifest.recalibration
    assert again is not None
    assert (again.parent, again.parent_version) == (small.digest, small.version)
    assert (again.images, again.patients) == (12 * COPIES, 12 * COPIES)
    assert again.fingerprint != new.manifest.training.fingerprint
    assert new.manifest.training == small.manifest.training
    for name, figures in found["findings"].items():
        assert figures["method"] == again.findings[name].method == "temperature"
        for when in ("ece_before", "ece_after"):
            assert 0 <= figures[when]["low"] <= figures[when]["value"] <= figures[when]["high"]
    assert "pneumonia: specificity=0.8; infiltration: sensitivity=0.9" in (
        new.manifest.threshold_target
    )

    measured, errors = told("evaluate", "--data", str(labelled), "--bundle", str(out), "--json")
    assert measured["seen_in_training"]
    assert "better than they will be" in errors
    for name, figures in measured["findings"].items():
        rate, wanted = ("specificity", 0.8) if name == "pneumonia" else ("sensitivity", 0.9)
        assert figures[rate] >= wanted

    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_twelve_images_are_too_few_to_calibrate_on(
    demo_images: list[Path], small: Bundle, tmp_path: Path
) -> None:
    _, errors = told(
        "calibrate", "--data", str(demo_images[0].parent), "--bundle", str(small.folder),
        "--out", str(tmp_path / "new"), status=1,
    )  # fmt: skip
    assert "at least 50 usable images. Received: 12" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_a_bundle_with_one_changed_byte_is_refused(
    command: str, small: Bundle, labelled: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(small.folder, tmp_path / "copy"))
    data = bytearray((copy / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / WEIGHTS).write_bytes(data)
    more = ["--out", str(tmp_path / "new")] if command == "calibrate" else []
    _, errors = told(command, "--data", str(labelled), "--bundle", str(copy), *more, status=1)
    assert "weights.safetensors was changed" in errors
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--prevalence", "pneumonia=1.5"], "FINDING=SHARE"),
        (["calibrate", "--out", "x", "--target", "accuracy=0.9"], "sensitivity=X"),
    ],
)
def test_wrong_usage_says_what_is_allowed(
    arguments: list[str], words: str, demo_images: list[Path]
) -> None:
    _, errors = told(*arguments, "--data", str(demo_images[0].parent), status=2)
    assert words in errors


def test_eligibility_counts_by_label_what_is_accepted_and_refused(tmp_path: Path) -> None:
    """Two radiographs, one of them inverted, a picture that is none, and a file that is absent."""
    demo = Path(__file__).parents[2] / "deploy" / "demo"
    (tmp_path / "images").mkdir()
    first, second = sorted(demo.glob("*.png"))[:2]
    cv2.imwrite(str(tmp_path / "images" / "one.png"), cv2.imread(str(first), 0))
    cv2.imwrite(str(tmp_path / "images" / "two.png"), 255 - cv2.imread(str(second), 0))
    cv2.imwrite(str(tmp_path / "images" / "waves.png"), anatomy(400, 400, 256).astype("u1"))
    cv2.imwrite(str(tmp_path / "images" / "small.png"), anatomy(100, 100, 256).astype("u1"))
    (tmp_path / "labels.csv").write_text(
        "image,label\none.png,chest\ntwo.png,chest\nwaves.png,other\nsmall.png,other\n"
        "absent.png,other\n"
    )
    done = hilum("eligibility", "--data", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["labels"] == {
        "chest": {"accepted": 2, "refused": {}, "remarks": {"greys_inverted": 1}},
        "other": {"accepted": 0, "refused": {"not_frontal_chest": 1, "too_small": 1},
                  "remarks": {}},
    }  # fmt: skip
    assert said["unreadable"] == ["absent.png: No such file or directory"]
    (tmp_path / "labels.csv").write_text("image\none.png\n")
    shown = hilum("eligibility", "--data", str(tmp_path))
    assert "frontal" in shown.stdout
    assert "1 (100.0%)" in shown.stdout
    (tmp_path / "labels.csv").write_text("file\none.png\n")
    refused = hilum("eligibility", "--data", str(tmp_path))
    assert refused.returncode == 1
    assert "needs the column image. Received: file" in refused.stderr


@pytest.mark.soak
def test_a_bundle_gets_a_model_of_other_frontal_chests(labelled: Path, tmp_path: Path) -> None:
    """Weights and calibration stay byte for byte; each precision is measured on this processor."""
    done = quick("eligibility", "--data", str(labelled), "--out", str(tmp_path / "new"), "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["accepted"]["value"] > 0.95
    old, new = load_bundle(), load_bundle(tmp_path / "new")
    assert new.version == said["bundle"] != old.version
    for name in ("weights.safetensors", "replay.safetensors"):
        assert new.manifest.files[name] == old.manifest.files[name]
    assert new.manifest.parity["int8"].passed == ("int8" in new.manifest.graphs)
    assert new.manifest.findings == old.manifest.findings
    assert new.manifest.frontal is not None
    assert new.manifest.frontal.images == 72
    assert "int8" in said["parity"]
    again = hilum("eligibility", "--data", str(labelled), "--out", str(tmp_path / "new"))
    assert again.returncode == 1
    assert "exists already" in again.stderr
