"""The feature cache: what is kept is what the base says, and a kill costs one row at most."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from classifier.bundle import load_bundle
from classifier.engine import compile_graph
from classifier.graph import base_graph
from classifier.network import Weights, region_weights
from classifier.pixels import from_image_file
from classifier.preprocessing import network_input
from tests.radiographs import make_radiograph, part10
from training.dataset import LabelledImages, read_dataset
from training.features import FeatureCache, FeatureKind, compute_features, varied

KIND = FeatureKind(("block5_conv3",), ("block3_conv3", "block5_conv3"), "pad-clahe-2", 64)


@pytest.fixture(scope="module")
def base() -> Weights:
    return load_bundle().weights()


@pytest.fixture
def data(tmp_path: Path, demo_images: list[Path]) -> LabelledImages:
    rows = []
    for number, image in enumerate(demo_images[:3]):
        shutil.copy(image, tmp_path)
        rows.append(f"{image.name},Mass,{number}\n")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    rows.append("bad.png,Mass,9\n")
    (tmp_path / "labels.csv").write_text("image,labels,patient\n" + "".join(rows))
    return read_dataset(tmp_path)


def test_rows_hold_the_maps_and_the_averages(
    tmp_path: Path, data: LabelledImages, base: Weights
) -> None:
    cache = FeatureCache(tmp_path / "cache", KIND, base)
    usable = compute_features(data, cache, base, variants=2)
    assert [line.split(":")[0] for line in usable.unreadable] == ["bad.png"]
    assert len(usable.cases) == 3
    assert cache.maps().shape == (6, 4 * 4 * 512)
    assert cache.averages().shape == (6, 256 + 512)
    image, _ = network_input(from_image_file(usable.cases[1].path), "pad-clahe-2", 64)
    graph = compile_graph(base_graph(64, KIND.taps, KIND.skips, base))
    for variant, pixels in enumerate([image, np.ascontiguousarray(image[:, ::-1])]):
        outputs = graph(pixels[np.newaxis])
        rows = cache.find(usable.cases, variant)[1:2]
        for kept, name in ((cache.maps(), "taps"), (cache.averages(), "averages")):
            assert np.allclose(kept.take(rows)[0], outputs[name].ravel(), rtol=2e-3, atol=1e-2)
    first = np.arange(1)
    maps = cache.maps().take(first).reshape(16, 512).astype(np.float32)
    averages = cache.averages().take(first)[0, -512:]
    assert np.allclose(maps.mean(axis=0), averages, rtol=2e-3, atol=1e-2)


def test_a_region_is_averaged_with_its_weights(
    tmp_path: Path, data: LabelledImages, base: Weights
) -> None:
    kind = FeatureKind(("block5_conv3",), ("block5_conv3@lungs",), "pad-clahe-2", 64)
    cache = FeatureCache(tmp_path / "cache", kind, base)
    compute_features(data, cache, base)
    row = np.arange(1)
    maps = cache.maps().take(row).reshape(4, 4, 512).astype(np.float32)
    weights = region_weights(4)
    assert np.isclose(weights.mean(), 1)
    assert np.allclose(weights, weights[:, ::-1])  # a mirrored chest has the same average
    expected = (maps * weights[..., np.newaxis]).mean(axis=(0, 1))
    assert np.allclose(cache.averages().take(row)[0], expected, rtol=5e-3, atol=2e-2)


def test_the_same_pixels_are_found_in_another_file_format(
    tmp_path: Path, demo_images: list[Path], base: Weights
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(demo_images[0], folder / "a.png")
    cells = np.asarray(Image.open(demo_images[0]).convert("L"))
    window = {"WindowCenter": 128, "WindowWidth": 256}
    (folder / "b.dcm").write_bytes(part10(make_radiograph(cells, **window)))
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    text = "image,labels,patient\na.png,Mass,1\nb.dcm,Mass,2\nc.png,Effusion,1\n"
    (folder / "labels.csv").write_text(text)
    cache = FeatureCache(tmp_path / "cache", KIND, base)
    data = compute_features(read_dataset(folder), cache, base)
    assert len(data.cases) == 3
    single = data.without_duplicates([cache.input_of(case) for case in data.cases])
    assert [case.path.name for case in single.cases] == ["a.png"]
    assert single.notes == (
        "b.dcm: not used, the same pixels as a.png, with another patient",
        "c.png: not used, the same pixels as a.png, with other labels",
    )


def test_images_that_no_one_can_judge_are_named(tmp_path: Path, base: Weights) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 255, (10, 10)).astype("u1")).save(tmp_path / "tiny.png")
    Image.fromarray(np.full((300, 300), 9, dtype="u1")).save(tmp_path / "blank.png")
    lateral = make_radiograph(random.integers(0, 255, (300, 300)).astype("u1"), ViewPosition="LL")
    (tmp_path / "lateral.dcm").write_bytes(part10(lateral))
    rows = [f"{name},Mass,{name}" for name in ("tiny.png", "blank.png", "lateral.dcm")]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels,patient", *rows]))
    cache = FeatureCache(tmp_path / "cache", KIND, base)
    data = compute_features(read_dataset(tmp_path), cache, base)
    assert data.cases == ()
    tiny, blank, view = data.unreadable
    assert tiny.startswith("tiny.png: The image has 10 x 10 pixels")
    assert "no contrast" in blank
    assert "LL" in view


def test_work_goes_on_where_it_ended(tmp_path: Path, data: LabelledImages, base: Weights) -> None:
    whole = FeatureCache(tmp_path / "whole", KIND, base)
    usable = compute_features(data, whole, base)
    torn = FeatureCache(tmp_path / "torn", KIND, base)
    compute_features(usable, torn, base)
    folder = torn.folder
    index = (folder / "index.txt").read_text()
    (folder / "index.txt").write_text(index[: len(index) - 20])  # killed within the last line
    with (folder / "maps.f16").open("ab") as file:
        file.write(b"half a row")
    again = FeatureCache(tmp_path / "torn", KIND, base)
    assert len(again.rows) == 2
    compute_features(usable, again, base)
    one, two = (c.maps().take(c.find(usable.cases, 0)) for c in (whole, again))
    assert np.array_equal(one, two)


def test_a_full_cache_needs_no_images(tmp_path: Path, data: LabelledImages, base: Weights) -> None:
    cache = FeatureCache(tmp_path / "cache", KIND, base)
    usable = compute_features(data, cache, base)
    for case in usable.cases:
        case.path.unlink()
    assert compute_features(usable, FeatureCache(tmp_path / "cache", KIND, base), base) == usable


def test_another_base_or_kind_is_another_cache(tmp_path: Path, base: Weights) -> None:
    other = {**base, "block1_conv1.bias": base["block1_conv1.bias"] + 1}
    kind = FeatureKind(KIND.taps, (), KIND.preprocessing, KIND.side)
    folders = {
        FeatureCache(tmp_path, k, b).folder for k, b in [(KIND, base), (KIND, other), (kind, base)]
    }
    assert len(folders) == 3


def test_variants_are_mirrored_and_repeatable() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    sha = "ab" * 32
    assert np.array_equal(varied(image, 0, sha), image)
    assert np.array_equal(varied(image, 1, sha), image[:, ::-1])
    assert np.array_equal(varied(image, 5, sha), varied(image, 5, sha))
    assert not np.array_equal(varied(image, 2, sha), varied(image, 4, sha))
    assert not np.array_equal(varied(image, 2, sha), varied(image, 2, "cd" * 32))
