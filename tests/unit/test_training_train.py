"""From the twelve demo radiographs to a bundle and its figures, at a small size."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.bundle import Bundle, load_bundle
from classifier.engine import compile_graph
from classifier.errors import BundleRefused
from classifier.graph import network_graph
from classifier.pixels import from_image_file
from classifier.preprocessing import network_input
from training.assemble import PREPROCESSING, merged
from training.base import base_weights
from training.dataset import read_dataset
from training.errors import Diverged, TooFewCases, WeightsRefused
from training.evaluate import evaluate
from training.features import FeatureCache, FeatureKind, compute_features
from training.fit import Recipe, fit_member
from training.labels import FINDINGS
from training.train import ARCHITECTURE, Work, examples_of, train

pytestmark = pytest.mark.slow

SMALL = replace(
    ARCHITECTURE, side=64, block6_filters=8, block7_filters=8, dense_units=16, members=2
)
QUICK = Recipe(epochs=2, variants=2, min_cases=1, batch=4, learning_rate=1e-2)
"""Two members: each finding of the demo has two images, one for each fold."""


@pytest.fixture(scope="module")
def demo(demo_images: list[Path]) -> Path:
    return demo_images[0].parent


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def trained(demo: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("out") / "bundle"
    return train(
        demo, out, architecture=SMALL, recipe=QUICK, credit="the demo", work=Work(cache=cache)
    )


def test_training_ends_in_a_bundle_that_says_what_it_is(trained: Bundle, demo: Path) -> None:
    """With the base of the default bundle: no file of weights, no download."""
    manifest = load_bundle(trained.folder).manifest
    assert manifest.architecture == SMALL
    assert manifest.training.fingerprint == read_dataset(demo).fingerprint
    assert (manifest.training.images, manifest.training.patients) == (12, 12)
    assert manifest.metrics.data.startswith("2-fold cross-validation by patient on the demo")
    assert manifest.metrics.images == 12
    assert set(manifest.metrics.by_view) == {"PA"}
    assert manifest.frontal is not None
    assert (manifest.frontal.images, manifest.min_age_years) == (12, 18)
    assert manifest.recipe == asdict(QUICK)
    assert [path.name for path in trained.folder.parent.iterdir()] == ["bundle"]


def test_the_same_seed_gives_the_same_weights(
    trained: Bundle, demo: Path, cache: Path, tmp_path: Path
) -> None:
    again = train(
        demo, tmp_path / "again", architecture=SMALL, recipe=QUICK, work=Work(cache=cache)
    )
    assert again.manifest.files == trained.manifest.files


def test_evaluation_has_the_documented_form(trained: Bundle, demo: Path) -> None:
    found = evaluate(trained, read_dataset(demo)).as_json()
    assert list(json.loads(json.dumps(found)))[:5] == [
        "bundle", "images", "patients", "macro_auc", "findings",
    ]  # fmt: skip
    assert (found["bundle"], found["images"], found["patients"]) == (trained.version, 12, 12)
    assert set(found["macro_auc"]) == {"value", "low", "high"}
    assert set(found["findings"]["nodule_or_mass"]) >= {
        "positives", "auc", "accuracy", "sensitivity", "specificity", "ece", "brier",
    }  # fmt: skip
    assert found["findings"]["nodule_or_mass"]["positives"] == 2


def test_evaluation_names_what_it_could_not_use(
    trained: Bundle, demo: Path, tmp_path: Path
) -> None:
    rows = ["image,labels,patient", "torn.png,Mass,1", "blank.png,Mass,2"]
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.fromarray(np.full((300, 300), 5, dtype=np.uint8)).save(tmp_path / "blank.png")
    for path in sorted(demo.glob("*.png"))[:2]:
        shutil.copy(path, tmp_path)
        rows.append(f"{path.name},Effusion,{path.stem}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    found = evaluate(trained, read_dataset(tmp_path))
    assert found.metrics.images == 2
    assert [line.split(":")[0] for line in found.unreadable] == ["torn.png", "blank.png"]


@pytest.mark.parametrize("skips", [(), ("block3_conv3", "block5_conv3@lungs")])
def test_the_trained_form_and_the_bundles_form_are_one_function(
    demo: Path, cache: Path, skips: tuple[str, ...]
) -> None:
    """Folding normalisations and the linear readout changes no logit."""
    architecture = replace(SMALL, members=1, skips=skips)
    base = base_weights()
    kind = FeatureKind(architecture.taps, skips, PREPROCESSING, 64)
    store = FeatureCache(cache, kind, base)
    data = compute_features(read_dataset(demo), store, base, 2)
    examples = examples_of(data, store, FINDINGS, QUICK)
    recipe = replace(QUICK, epochs=4, learning_rate=3e-2)
    member = fit_member(architecture, examples, np.arange(8), np.arange(8, 12), recipe, 0)
    graph = compile_graph(network_graph(architecture, merged(base, [member])))
    images = [
        network_input(from_image_file(case.path), PREPROCESSING, 64)[0] for case in data.cases[8:]
    ]
    logits = np.concatenate([graph(image[np.newaxis])["logits"][:, 0] for image in images])
    assert np.abs(logits - member.logits).max() < 0.02 * max(1.0, float(np.abs(logits).max()))


def test_too_few_cases_leave_no_bundle(demo: Path, cache: Path, tmp_path: Path) -> None:
    with pytest.raises(TooFewCases, match="pneumonia"):
        train(demo, tmp_path / "b", architecture=SMALL, recipe=replace(QUICK, min_cases=5),
              work=Work(cache=cache))  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_not_written_over(trained: Bundle, demo: Path) -> None:
    with pytest.raises(BundleRefused, match="never edited"):
        train(demo, trained.folder)


def test_a_file_that_is_no_base_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"no weights")
    with pytest.raises(WeightsRefused, match=r"weights\.h5"):
        base_weights(tmp_path / "weights.h5")


def test_a_loss_that_is_no_number_writes_no_bundle(demo: Path, cache: Path, tmp_path: Path) -> None:
    recipe = replace(QUICK, learning_rate=float("inf"))
    out = tmp_path / "out"
    with pytest.raises(Diverged, match="no bundle was written"):
        train(demo, out, architecture=SMALL, recipe=recipe, work=Work(cache=cache))
    assert not out.exists()


def test_a_finding_with_fewer_cases_than_it_needs_is_named(
    demo: Path, cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(TooFewCases, match="pneumonia"):
        train(demo, tmp_path / "out", architecture=SMALL, recipe=Recipe(), work=Work(cache=cache))
    assert not (tmp_path / "out").exists()
