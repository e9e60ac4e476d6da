"""What the pixels decide: the default bundle's model of frontal chests, and what it makes of
lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from classifier.bundle import load_bundle
from classifier.classify import INVERTED, Classifier
from classifier.errors import BundleRefused, NotEligible
from classifier.frontal import pack, unpack
from tests.radiographs import anatomy, make_radiograph


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_bundle())


def chest(images: list[Path], number: int = 0) -> NDArray[np.uint8]:
    return np.asarray(Image.open(images[number]).convert("L"), dtype=np.uint8)


def other_things() -> dict[str, NDArray[np.uint8]]:
    """Images that are no chest, from pydicom's own files and from a formula."""
    found = {"waves": anatomy(400, 400, 256).astype(np.uint8)}
    for name in ("CT_small.dcm", "MR_small.dcm"):
        pixels = dcmread(str(get_testdata_file(name, download=False))).pixel_array.astype(float)
        shown = (pixels - pixels.min()) / np.ptp(pixels) * 255
        factor = -(-400 // min(shown.shape))
        found[name] = np.kron(shown, np.ones((factor, factor))).astype(np.uint8)
    return found


def test_the_demo_radiographs_are_accepted_without_a_remark(
    classifier: Classifier, demo_images: list[Path]
) -> None:
    for number in range(len(demo_images)):
        assert classifier.classify(make_radiograph(chest(demo_images, number))).remarks == ()


@pytest.mark.parametrize("name", list(other_things()))
def test_what_is_no_chest_is_refused_whatever_its_header_says(
    classifier: Classifier, name: str
) -> None:
    for header in ({}, {"ViewPosition": None, "BodyPartExamined": None}):
        with pytest.raises(NotEligible) as refusal:
            classifier.classify(make_radiograph(other_things()[name], **header))
        assert refusal.value.code == "not_frontal_chest"
    with pytest.raises(NotEligible) as refusal:
        classifier.classify(make_radiograph(other_things()[name], BodyPartExamined="KNEE"))
    assert refusal.value.code == "not_chest"  # the header names the reason better


def test_a_chest_on_its_side_is_refused(classifier: Classifier, demo_images: list[Path]) -> None:
    with pytest.raises(NotEligible, match="pixels"):
        classifier.classify(make_radiograph(np.rot90(chest(demo_images)).copy()))


@pytest.mark.parametrize(
    "header", [{"ViewPosition": "LL"}, {"BodyPartExamined": "HAND"}, {"SliceThickness": "5"}]
)
def test_a_wrong_header_does_not_refuse_a_clear_frontal_chest(
    classifier: Classifier, demo_images: list[Path], header: dict[str, Any]
) -> None:
    image = chest(demo_images, 3)
    found = classifier.classify(make_radiograph(image, **header))
    assert [remark.code for remark in found.remarks] == ["header_overruled"]
    expected = classifier.classify(make_radiograph(image))
    assert found.findings == expected.findings


def test_without_clear_pixels_the_header_is_believed(demo_images: list[Path]) -> None:
    classifier = Classifier(load_bundle())
    limits = classifier.bundle.manifest.frontal
    assert limits is not None
    stricter = classifier.bundle.manifest.model_copy(
        update={"frontal": replace(limits, clear=-100.0)}
    )
    classifier.bundle = replace(classifier.bundle, manifest=stricter)
    with pytest.raises(NotEligible) as refusal:
        classifier.classify(make_radiograph(chest(demo_images), ViewPosition="LL"))
    assert refusal.value.code == "not_frontal"


def test_inverted_greys_are_corrected_and_said(
    classifier: Classifier, demo_images: list[Path]
) -> None:
    """A MONOCHROME tag that lies costs nothing: the findings are those of the true image."""
    for number in range(len(demo_images)):
        image = chest(demo_images, number)
        lying = classifier.classify(make_radiograph(255 - image, WindowCenter=128, WindowWidth=256))
        assert lying.remarks == (INVERTED,)
        true = classifier.classify(make_radiograph(image, WindowCenter=128, WindowWidth=256))
        for one, other in zip(lying.findings, true.findings, strict=True):
            assert one.probability == pytest.approx(other.probability, abs=0.02)
        assert lying.placement == true.placement


def test_without_a_model_the_header_decides(demo_images: list[Path]) -> None:
    bundle = load_bundle()
    blind = bundle.manifest.model_copy(update={"frontal": None})
    classifier = Classifier(replace(bundle, manifest=blind))
    assert classifier.classify(make_radiograph(other_things()["waves"])).remarks == ()
    with pytest.raises(NotEligible) as refusal:
        classifier.classify(make_radiograph(chest(demo_images), ViewPosition="LL"))
    assert refusal.value.code == "not_frontal"


def test_a_model_of_another_network_or_of_impossible_values_is_refused() -> None:
    bundle = load_bundle()
    stated, model = bundle.manifest.frontal, bundle.frontal()
    assert stated is not None
    assert model is not None
    architecture = bundle.manifest.architecture
    again = unpack(pack(model), architecture, stated.skips)
    assert np.array_equal(again.axes, model.axes)
    with pytest.raises(BundleRefused, match="lacks"):
        unpack(pack(model), architecture, ("block1_conv1",))
    with pytest.raises(BundleRefused, match="this network"):
        unpack(pack(model), architecture, stated.skips[:1])
    with pytest.raises(BundleRefused, match="impossible"):
        unpack(pack(replace(model, rest=-1.0)), architecture, stated.skips)
    with pytest.raises(BundleRefused, match="cannot be read"):
        unpack(b"torn", architecture, stated.skips)
