"""The paper's recipe: balance, classes, hold-out, and what is said about sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from classifier.bundle import load_bundle
from training.benavente import ARCHITECTURE, RECIPE, balanced, classified, train_paper
from training.dataset import Case, LabelledImages, read_dataset
from training.errors import TooFewCases
from training.labels import FINDINGS, class_label
from training.train import Work

SMALL = replace(ARCHITECTURE, side=64, block6_filters=8, block7_filters=8, dense_units=8)
QUICK = replace(RECIPE, epochs=3, patience=1, batch=8, min_cases=5)


def cases(labels: list[list[str]], **columns: str) -> LabelledImages:
    made = [
        Case(Path(f"{i}.png"), str(i), frozenset(names), f"{i:064x}", columns)
        for i, names in enumerate(labels)
    ]
    return LabelledImages(Path("set"), tuple(made))


@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=80), st.integers(0, 99))
def test_each_class_has_as_many_images_as_the_rarest(names: list[str], seed: int) -> None:
    classes = tuple(class_label(name) for name in sorted(set(names)))
    data = cases([[name] for name in names], label="")
    found = balanced(data, classes, seed)
    counts = {name: sum(name in case.labels for case in found.cases) for name in set(names)}
    assert set(counts.values()) == {min(names.count(name) for name in set(names))}
    assert balanced(data, classes, seed) == found
    assert balanced(found, classes, seed) == found
    assert [c for c in data.cases if c in found.cases] == list(found.cases)


def test_an_image_of_several_findings_counts_as_the_rarest() -> None:
    data = cases([["Pneumonia", "Effusion"], ["Pneumonia"], ["No Finding"], ["Mass"], ["Nodule"]])
    found, classes = classified(data)
    assert classes == FINDINGS
    assert [sorted(case.labels) for case in found.cases] == [
        ["pleural_effusion"], ["pneumonia"], ["nodule_or_mass"], ["nodule_or_mass"],
    ]  # fmt: skip


@pytest.fixture(scope="module")
def parts(demo_images: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Upper and lower halves of radiographs: two classes, 36 images of 12 patients each."""
    folder = tmp_path_factory.mktemp("parts")
    rows = ["image,label,patient_id,source"]
    for number, path in enumerate(demo_images):
        image = Image.open(path).convert("L").resize((512, 512))
        for left in (0, 64, 128):
            for name, top in (("upper", 0), ("lower", 200)):
                file = f"{name}-{number}-{left}.png"
                image.crop((left, top, left + 300, top + 300)).save(folder / file)
                rows.append(f"{file},{name},{number},clinic {name}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


@pytest.mark.slow
def test_the_papers_recipe_ends_in_a_bundle_with_the_papers_figures(
    parts: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    bundle = train_paper(
        parts, tmp_path / "out", architecture=SMALL, recipe=QUICK, work=Work(say=said.append)
    )
    manifest = load_bundle(bundle.folder).manifest
    assert manifest.architecture.targets == ("lower", "upper")
    assert manifest.recipe["name"] == "benavente2022"
    assert manifest.metrics.images == 12  # two of twelve patients: a tenth, rounded up
    assert manifest.metrics.accuracy is not None
    assert "the paper's 56%" in manifest.metrics.data
    assert "different sources (clinic lower, clinic upper)" in manifest.metrics.data
    assert manifest.metrics.data.endswith(said[-2])
    assert said[0] == "72 of 72 images, the same number of each class"
    assert said[-1].startswith("Limited by")


@pytest.mark.slow
def test_one_class_alone_is_an_error(parts: Path, tmp_path: Path) -> None:
    rows = (parts / "labels.csv").read_text().splitlines()
    one = [rows[0], *(row for row in rows if ",upper," in row)]
    (tmp_path / "labels.csv").write_text("\n".join(one))
    (tmp_path / "images").symlink_to(parts)
    assert len(read_dataset(tmp_path, single=True).cases) == 36
    with pytest.raises(TooFewCases, match="at least 2 classes"):
        train_paper(tmp_path, tmp_path / "out", architecture=SMALL, recipe=QUICK)
    assert not (tmp_path / "out").exists()


def test_a_class_gets_a_key_and_a_code_of_our_own() -> None:
    label = class_label("COVID-19 (mild)")
    assert (label.name, label.code.scheme, label.labels) == (
        "covid_19_mild", "99HILUM", ("COVID-19 (mild)",),
    )  # fmt: skip
    assert class_label("3rd").name == "c_3rd"
    assert np.unique([class_label(name).code.value for name in "abc"]).size == 3
