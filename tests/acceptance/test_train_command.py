"""`hilum train`, `evaluate` and `calibrate`, one after the other, through the real command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from classifier.bundle import load_bundle
from tests.harness import hilum
from tests.learning import COMMAND, quick
from training.replay import read_replay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(labelled: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle from the labelled set; the first start is killed amid the features."""
    out = tmp_path_factory.mktemp("trained") / "bundle"
    command = [
        *COMMAND, "train", "--data", str(labelled), "--out", str(out),
        "--cache", str(cache), "--credit", "the demo radiographs",
    ]  # fmt: skip
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(file.stat().st_size for file in cache.rglob("*.f16")):
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(10)
    assert not out.exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    assert again.returncode == 0, again.stderr
    assert "absent.png" in again.stdout + again.stderr
    return out


@pytest.mark.timeout(400)
def test_a_killed_training_goes_on_and_ends_in_a_sound_bundle(trained: Path) -> None:
    manifest = load_bundle(trained).manifest
    assert manifest.metrics.images == 72
    assert manifest.metrics.macro_auc is not None
    assert manifest.training.credit == "the demo radiographs"
    assert set(manifest.parity) == {"int8"}


def test_what_was_trained_is_evaluated_and_calibrated_anew(
    trained: Path, labelled: Path, tmp_path: Path
) -> None:
    asked = hilum("evaluate", "--data", str(labelled), "--bundle", str(trained), "--json")
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert told["images"] == 72
    assert told["macro_auc"]["value"] > 0.5  # it has seen these images
    out = tmp_path / "calibrated"
    asked = hilum("calibrate", "--data", str(labelled), "--bundle", str(trained), "--out", str(out))
    assert asked.returncode == 0, asked.stderr
    assert load_bundle(out).manifest.recalibration is not None


@pytest.mark.timeout(400)
def test_what_was_trained_goes_on_from_its_own_weights_and_forgets_nothing(
    trained: Path, labelled: Path, cache: Path, tmp_path: Path
) -> None:
    """On the cases that it knows: nothing new is said, and nothing is lost."""
    out = tmp_path / "retrained"
    asked = quick(
        "retrain", "--data", str(labelled), "--bundle", str(trained), "--cache", str(cache),
        "--out", str(out),
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    made, parent = load_bundle(out), load_bundle(trained)
    history = made.manifest.retraining
    assert history is not None
    assert (history.parent, history.replayed, history.images) == (parent.digest, 72, 72)
    assert history.remembered_after >= history.remembered_before - 0.05
    assert made.manifest.replay == parent.manifest.replay
    assert set(made.manifest.parity) == {"int8"}
    same = "replay.safetensors"
    assert made.manifest.files[same] == parent.manifest.files[same]
    assert (
        made.manifest.files["weights.safetensors"] != parent.manifest.files["weights.safetensors"]
    )


def test_a_bundle_gets_its_replay_from_the_images_it_was_trained_on_alone(
    trained: Path, labelled: Path, cache: Path, tmp_path: Path
) -> None:
    command = ("replay", "--bundle", str(trained), "--cache", str(cache))
    asked = hilum(*command, "--data", str(labelled), "--out", str(tmp_path / "again"))
    assert asked.returncode == 0, asked.stderr
    bundles = [load_bundle(folder) for folder in (trained, tmp_path / "again")]
    files = [dict(bundle.manifest.files) for bundle in bundles]
    for each in files:
        assert each.pop("replay.safetensors")
    assert files[0] == files[1]
    replays = [asdict(read_replay(bundle)) for bundle in bundles]
    # The training had its weights in full precision, the bundle has them in half
    blocks = [replay.pop("blocks") for replay in replays]
    np.testing.assert_allclose(*blocks, atol=1e-4)
    for name, value in replays[0].items():
        np.testing.assert_array_equal(value, replays[1][name], err_msg=name)
    asked = hilum("replay", "--data", str(labelled), "--cache", str(cache),
                  "--out", str(tmp_path / "none"))  # fmt: skip
    assert asked.returncode == 1
    assert "not the images and labels" in asked.stderr


def test_the_papers_recipe_runs_on_the_same_cache(
    labelled: Path, cache: Path, trained: Path, tmp_path: Path
) -> None:
    del trained  # its features are in the cache
    asked = hilum(
        "train", "--recipe", "benavente2022", "--data", str(labelled), "--cache", str(cache),
        "--out", str(tmp_path / "paper"),
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
    assert "56" in asked.stdout
    assert "50" in asked.stdout
    assert load_bundle(tmp_path / "paper").manifest.metrics.accuracy is not None


def test_a_bundle_is_never_overwritten(trained: Path, labelled: Path) -> None:
    asked = hilum("train", "--data", str(labelled), "--out", str(trained))
    assert asked.returncode == 1
    assert "exists already" in asked.stderr


def test_an_unknown_label_is_named(tmp_path: Path, demo_images: list[Path]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(demo_images[0].read_bytes())
    (tmp_path / "labels.csv").write_text("image,labels,patient_id\na.png,Scurvy,1\n")
    asked = hilum("train", "--data", str(tmp_path), "--out", str(tmp_path / "out"))
    assert asked.returncode == 1
    assert "Scurvy" in asked.stderr
    assert not (tmp_path / "out").exists()
