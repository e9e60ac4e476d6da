"""A bundle is what its manifest says, byte by byte, or it is refused by the name of the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.bundle import (
    MANIFEST,
    WEIGHTS,
    Bundle,
    Code,
    FindingLabel,
    FindingOutput,
    Manifest,
    Metrics,
    TrainingData,
    load_bundle,
    pack_weights,
    write_bundle,
)
from classifier.calibration import Calibration, calibrated
from classifier.errors import BundleRefused
from classifier.network import Architecture, Weights, weight_shapes

ARCHITECTURE = Architecture(
    targets=("pneumonia",), side=64, block6_filters=4, block7_filters=4, dense_units=4, members=2
)


def some_weights() -> Weights:
    random = np.random.default_rng(0)
    shapes = weight_shapes(ARCHITECTURE)
    return {name: random.normal(0, 0.01, shape).astype("f4") for name, shape in shapes.items()}


def some_manifest(**changes: Any) -> Manifest:
    label = FindingLabel("pneumonia", Code("233604007", "SCT", "Pneumonia"), ("Pneumonia",))
    return Manifest(
        name="test",
        version="1",
        created=datetime.now(UTC),
        intended_use="tests",
        preprocessing="pad-clahe-2",
        architecture=ARCHITECTURE,
        findings=(FindingOutput(label, Calibration(), 0.5),),
        threshold_target="youden",
        training=TrainingData("none", 0, 0, "0" * 64, "none", 0),
        metrics=Metrics("none", 0, 0, None, {}),
        files={},
    ).model_copy(update=changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "whole"
    return write_bundle(folder, some_manifest(), {WEIGHTS: pack_weights(some_weights())})


@pytest.fixture
def copy(whole: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.folder, tmp_path / "copy"))


def test_a_bundle_comes_back_as_it_was_written(whole: Bundle) -> None:
    again = load_bundle(whole.folder)
    assert again == whole
    assert again.version == "test 1"
    for name, weight in some_weights().items():
        assert np.allclose(again.weights()[name], weight, rtol=1e-3, atol=1e-7)


def test_nothing_is_left_beside_a_bundle_nor_written_over_one(whole: Bundle) -> None:
    assert [path.name for path in whole.folder.parent.iterdir()] == ["whole"]
    with pytest.raises(BundleRefused, match="never edited"):
        write_bundle(whole.folder, some_manifest(), {WEIGHTS: b""})


def test_a_bundle_that_would_not_load_is_not_written(tmp_path: Path) -> None:
    short = {k: v for k, v in some_weights().items() if k != "1.dense.bias"}
    with pytest.raises(BundleRefused, match="architecture"):
        write_bundle(tmp_path / "b", some_manifest(), {WEIGHTS: pack_weights(short)})
    infinite = {**some_weights(), "0.dense.bias": np.full(4, np.inf, dtype=np.float32)}
    with pytest.raises(BundleRefused, match="infinite"):
        write_bundle(tmp_path / "b", some_manifest(), {WEIGHTS: pack_weights(infinite)})
    assert list(tmp_path.iterdir()) == []


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: flip(f / WEIGHTS, -1), r"weights\.safetensors was changed"),
        (lambda f: flip(f / WEIGHTS, 20_000_000), r"weights\.safetensors was changed"),
        (lambda f: (f / WEIGHTS).write_bytes(b"short"), r"weights\.safetensors was changed"),
        (lambda f: (f / WEIGHTS).unlink(), r"Missing: weights\.safetensors"),
        (lambda f: (f / "extra.pkl").write_bytes(b"x"), r"Unknown: extra\.pkl"),
        (lambda f: (f / MANIFEST).unlink(), r"manifest\.json cannot be read"),
        (lambda f: (f / MANIFEST).write_text("{"), r"manifest\.json is malformed"),
        (lambda f: edit(f / MANIFEST, lambda m: m.pop("findings")), "findings"),
        (lambda f: edit(f / MANIFEST, lambda m: m.update(run="x")), "run"),
        (lambda f: edit(f / MANIFEST, lambda m: m.update(format=2)), "format"),
        (
            lambda f: edit(f / MANIFEST, lambda m: m["findings"][0].update(threshold=2)),
            "threshold",
        ),
        (
            lambda f: edit(f / MANIFEST, lambda m: m["architecture"].update(lambda_="x")),
            "architecture",
        ),
        (lambda f: edit(f / MANIFEST, lambda m: m.update(preprocessing="new")), "preprocessing"),
        (
            lambda f: edit(f / MANIFEST, lambda m: m["files"].update({"../x": "0" * 64})),
            r"manifest\.json is malformed",
        ),
        (
            lambda f: edit(f / MANIFEST, lambda m: m["architecture"].update(targets=["other"])),
            "targets",
        ),
    ],
)
def test_a_damaged_bundle_is_refused_by_the_name_of_what_is_wrong(
    copy: Path, damage: Callable[[Path], Any], words: str
) -> None:
    damage(copy)
    with pytest.raises(BundleRefused, match=words):
        load_bundle(copy)


def test_a_link_to_another_file_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / WEIGHTS).rename(tmp_path / "elsewhere")
    (copy / WEIGHTS).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleRefused, match="regular file"):
        load_bundle(copy)


def test_a_file_that_changes_after_loading_is_refused_when_it_is_read(copy: Path) -> None:
    bundle = load_bundle(copy)
    flip(copy / WEIGHTS, 9000)
    with pytest.raises(BundleRefused, match="changed"):
        bundle.weights()


def test_the_default_bundle_is_whole_and_small() -> None:
    bundle = load_bundle()
    assert sum(path.stat().st_size for path in bundle.folder.iterdir()) < 60_000_000
    names = [finding.label.name for finding in bundle.manifest.findings]
    assert names == [
        "pneumonia",
        "infiltration",
        "atelectasis",
        "pleural_effusion",
        "nodule_or_mass",
    ]
    assert bundle.manifest.metrics.macro_auc is not None


def test_calibration_keeps_the_order_and_stays_a_probability() -> None:
    logits = np.linspace(-1e6, 1e6, 101, dtype=np.float32)[:, np.newaxis]
    p = calibrated(logits, (Calibration(0.7, -1.0),))[:, 0]
    assert (np.diff(p) >= 0).all()
    assert 0 <= p.min() <= p.max() <= 1
    assert calibrated(np.zeros((1, 1), "f4"), (Calibration(0.7, 0.0),))[0, 0] == 0.5
