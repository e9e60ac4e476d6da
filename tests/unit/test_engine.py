"""The choice of an engine, and one object's way through the classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.bundle import Bundle, Parity, load_bundle
from classifier.classify import Classifier
from classifier.engine import open_engine
from classifier.errors import EngineUnavailable, NotEligible, Undecodable
from tests.radiographs import anatomy, make_radiograph, part10


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="module")
def classifier(bundle: Bundle) -> Classifier:
    return Classifier(bundle, "f32")


def with_parity(bundle: Bundle, parity: dict[str, Parity]) -> Bundle:
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"parity": parity}))


def test_auto_skips_what_the_gate_did_not_pass_and_says_so(bundle: Bundle) -> None:
    failed = with_parity(bundle, {"int8": Parity(-0.02, 0.0), "bf16": Parity(0.0, 0.02)})
    engine = open_engine(failed)
    assert engine.name == "f32"
    assert "int8: not passed" in engine.reason
    assert "bf16: not passed" in engine.reason


def test_an_engine_that_cannot_run_is_unavailable(bundle: Bundle) -> None:
    without = replace(bundle, manifest=bundle.manifest.model_copy(update={"graphs": {}}))
    with pytest.raises(EngineUnavailable, match="no int8 graph"):
        open_engine(without, "int8")
    passed = with_parity(without, {"int8": Parity(0.0, 0.0)})
    assert "int8: the bundle has no int8 graph" in open_engine(passed).reason


def test_a_batch_is_its_images_one_by_one(bundle: Bundle) -> None:
    side = bundle.manifest.architecture.side
    engine = open_engine(bundle, "f32")
    batch = np.stack([anatomy(side, side, 256, seed).astype(np.uint8) for seed in range(3)])
    logits, maps = engine.run(batch)
    grid = bundle.manifest.architecture.grid
    assert logits.shape == (3, 5)
    assert maps.shape == (3, 5, grid, grid)
    for i in range(3):
        assert np.array_equal(engine.run(batch[i : i + 1])[0][0], logits[i])


def test_an_object_becomes_coded_findings_and_maps(
    classifier: Classifier, demo_images: list[Path], tmp_path: Path
) -> None:
    pixels = np.asarray(Image.open(demo_images[0]).convert("L"))
    path = tmp_path / "object.dcm"
    path.write_bytes(part10(make_radiograph(pixels)))
    seen = classifier.classify(path)
    assert [f.name for f in seen.findings] == [
        f.label.name for f in classifier.bundle.manifest.findings
    ]
    assert all(0 < f.probability < 1 and f.code_scheme in ("SCT", "DCM") for f in seen.findings)
    assert (seen.placement.rows, seen.placement.columns) == pixels.shape
    assert seen.placement.on_image(seen.maps[0]).shape == pixels.shape
    assert classifier.classify(path.read_bytes()).findings == seen.findings
    name, version = classifier.version.split(" ")
    assert (name, version) == (
        classifier.bundle.manifest.name,
        classifier.bundle.manifest.version,
    )


def test_what_is_not_judged_is_refused_before_the_engine(classifier: Classifier) -> None:
    cells = anatomy(300, 300, 256).astype(np.uint8)
    with pytest.raises(NotEligible, match="frontal"):
        classifier.prepare(part10(make_radiograph(cells, ViewPosition="LL")))
    with pytest.raises(NotEligible, match="blank"):
        classifier.prepare(part10(make_radiograph(np.full((300, 300), 7, dtype=np.uint8))))
    with pytest.raises(Undecodable):
        classifier.prepare(part10(make_radiograph(cells, PixelData=b"\0" * 100)))
