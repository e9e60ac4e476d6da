"""What leaving out the finest level of JPEG 2000 does to real radiographs: as little as rounding.

Radiographs of the size of a detector, with its noise. The measure is what the same network says of
the same object with every pixel decoded.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom.uid import JPEG2000, JPEG2000Lossless

from classifier.bundle import load_bundle
from classifier.classify import Classifier
from classifier.decode import read_object
from classifier.pixels import cropped, displayed, from_dicom
from daemon.simulate import Form, Kind, make_object, to_bytes


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_bundle())


@pytest.mark.slow
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEG2000])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_lower_resolution_hardly_moves_an_answer(
    classifier: Classifier, demo_images: list[Path], number: int, syntax: str
) -> None:
    grey = cv2.imread(str(demo_images[number]), cv2.IMREAD_GRAYSCALE)
    large = cv2.resize(grey, (2048, 2500), interpolation=cv2.INTER_LANCZOS4) * 257.0
    large += np.random.default_rng(number).normal(0, 150, large.shape)
    image = np.clip(large, 0, 65535).astype(np.uint16)
    content = to_bytes(make_object(image, Form(Kind.DX, 12, transfer_syntax=syntax)))
    dataset = read_object(content)
    assert from_dicom(dataset).lower is not None
    fast, plain = classifier.prepare(content), classifier.place(cropped(displayed(dataset)))
    assert fast.placement == plain.placement
    apart = np.abs(fast.input.astype(int) - plain.input)
    assert (apart > 1).mean() < 0.02
    assert apart.mean() < 0.3
    found, expected = (classifier.engine.run(one.input[np.newaxis]).logits for one in (fast, plain))
    assert np.abs(found - expected).max() < 0.1
    assert np.abs(found - expected).mean() < 0.04
