"""The feature cache: what is kept is what the base says, and a kill costs one row at most."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from classifier.bundle import load_bundle
from classifier.engine import compile_graph
from classifier.graph import base_graph
from classifier.network import Weights
from classifier.pixels import from_image_file
from classifier.preprocessing import network_input
from training.dataset import LabelledImages, read_dataset
from training.features import FeatureCache, FeatureKind, compute_features, varied

KIND = FeatureKind(("block5_conv3",), ("block3_conv3", "block5_conv3"), "pad-clahe-1", 64)


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
    assert cache.array().shape == (6, 4 * 4 * 512 + 256 + 512)
    image, _ = network_input(from_image_file(usable.cases[1].path), "pad-clahe-1", 64)
    graph = compile_graph(base_graph(64, KIND.taps, KIND.skips, base))
    for variant, pixels in enumerate([image, np.ascontiguousarray(image[:, ::-1])]):
        outputs = graph(pixels[np.newaxis])
        expected = np.concatenate([outputs["taps"].ravel(), outputs["averages"].ravel()])
        row = cache.array()[cache.find(usable.cases, variant)[1]]
        assert np.allclose(row, expected, rtol=2e-3, atol=1e-2)
    maps = cache.array()[0, : 4 * 4 * 512].reshape(16, 512).astype(np.float32)
    assert np.allclose(maps.mean(axis=0), cache.array()[0, -512:], rtol=2e-3, atol=1e-2)


def test_work_goes_on_where_it_ended(tmp_path: Path, data: LabelledImages, base: Weights) -> None:
    whole = FeatureCache(tmp_path / "whole", KIND, base)
    usable = compute_features(data, whole, base)
    torn = FeatureCache(tmp_path / "torn", KIND, base)
    compute_features(usable, torn, base)
    folder = torn.folder
    index = (folder / "index.txt").read_text()
    (folder / "index.txt").write_text(index[: len(index) - 20])  # killed within the last line
    with (folder / "features.f16").open("ab") as file:
        file.write(b"half a row")
    again = FeatureCache(tmp_path / "torn", KIND, base)
    assert len(again.rows) == 2
    compute_features(usable, again, base)
    one, two = (c.array()[c.find(usable.cases, 0)] for c in (whole, again))
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
