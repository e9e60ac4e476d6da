"""The choice of an engine, and one object's way through the classifier."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from classifier import engine
from classifier.bundle import Bundle, Parity, load_bundle
from classifier.classify import Classifier
from classifier.engine import open_engine
from classifier.errors import BundleRefused, EngineUnavailable, NotEligible, Undecodable
from tests.radiographs import anatomy, make_radiograph, part10
from training.images import input_of


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
    chosen = open_engine(failed)
    assert chosen.name == "f32"
    assert "int8: not passed" in chosen.reason
    assert "2.0% of decisions differ" in chosen.reason


def test_an_engine_that_cannot_run_is_unavailable(bundle: Bundle) -> None:
    without = replace(bundle, manifest=bundle.manifest.model_copy(update={"graphs": {}}))
    with pytest.raises(EngineUnavailable, match="no int8 graph"):
        open_engine(without, "int8")
    passed = with_parity(without, {"int8": Parity(0.0, 0.0)})
    assert "int8: the bundle has no int8 graph" in open_engine(passed).reason


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", False),
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: avx512f amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("Features\t: fp asimd\n", False),
        ("model name\t: unheard of\n", True),
    ],
)
def test_bf16_is_taken_only_where_the_processor_multiplies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Bundle, cpuinfo: str, found: bool
) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo)
    assert engine.has_bf16(path) is found
    if not found:
        monkeypatch.setattr(engine, "has_bf16", lambda: False)
        with pytest.raises(EngineUnavailable, match="no bf16"):
            open_engine(bundle, "bf16")


def test_bf16_is_left_to_openvino_where_the_system_does_not_say(tmp_path: Path) -> None:
    assert engine.has_bf16(tmp_path / "missing")


@pytest.fixture(scope="module")
def demo_inputs(bundle: Bundle, demo_images: list[Path]) -> NDArray[np.uint8]:
    side = bundle.manifest.architecture.side
    return np.stack([input_of(path, bundle.manifest.preprocessing, side) for path in demo_images])


def test_int8_says_what_f32_says_of_the_demo_radiographs(
    bundle: Bundle, demo_inputs: NDArray[np.uint8]
) -> None:
    """The gate's figures are of 1,394 images; this is that the graph stored is the one measured."""
    exact, rough = (open_engine(bundle, name).run(demo_inputs) for name in ("f32", "int8"))
    assert bundle.manifest.parity["int8"].passed
    assert open_engine(bundle).name == "int8"
    assert np.abs(exact.logits - rough.logits).max() < 0.15
    assert np.abs((exact.logits - rough.logits).mean(axis=0)).max() < 0.05
    for one, other in zip(exact.maps, rough.maps, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("damage", ["flipped", "missing", "truncated"])
def test_a_damaged_graph_leaves_the_next_engine(
    bundle: Bundle, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle.folder, folder)
    graph = folder / bundle.manifest.graphs["int8"].bin
    content = bytearray(graph.read_bytes())
    graph.unlink()
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    if damage != "missing":
        graph.write_bytes(content if damage == "flipped" else content[:-1])
    chosen = open_engine(load_bundle(folder))
    assert chosen.name in ("bf16", "f32")  # as the processor has it
    assert f"int8: {graph.name}" in chosen.reason
    with pytest.raises(BundleRefused, match=graph.name):
        open_engine(load_bundle(folder), "int8")


def test_a_batch_is_its_images_one_by_one(bundle: Bundle) -> None:
    side = bundle.manifest.architecture.side
    f32 = open_engine(bundle, "f32")
    batch = np.stack([anatomy(side, side, 256, seed).astype(np.uint8) for seed in range(3)])
    outputs, architecture = f32.run(batch), bundle.manifest.architecture
    assert outputs.members.shape == (3, architecture.members, 5)
    assert outputs.logits.shape == (3, 5)
    assert outputs.maps.shape == (3, 5, architecture.grid, architecture.grid)
    assert outputs.averages.shape == (3, architecture.skip_filters)
    for i in range(3):
        assert np.array_equal(f32.run(batch[i : i + 1]).logits[0], outputs.logits[i])


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
    with pytest.raises(NotEligible, match="younger than 18"):
        classifier.prepare(part10(make_radiograph(cells, PatientAge="010Y")))
    with pytest.raises(NotEligible, match="blank"):
        classifier.prepare(part10(make_radiograph(np.full((300, 300), 7, dtype=np.uint8))))
    with pytest.raises(Undecodable):
        classifier.prepare(part10(make_radiograph(cells, PixelData=b"\0" * 100)))
