"""The fit of the model of frontal chests, on features whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from classifier.bundle import load_bundle
from classifier.frontal import pack, unpack
from classifier.network import skip_filters
from training.frontal import Copies, described, fit_frontal, skips_of, wilson

ARCHITECTURE = load_bundle().manifest.architecture
WIDTH = sum(skip_filters(skip) for skip in ARCHITECTURE.skips)


@pytest.fixture(scope="module")
def known() -> np.random.Generator:
    return np.random.default_rng(0)


def test_what_lies_elsewhere_is_far_and_what_lies_there_is_not(known: np.random.Generator) -> None:
    """120 images of a three-dimensional family, each with a copy; others have another pattern."""
    middle, family = known.uniform(1, 2, WIDTH), known.normal(0, 0.05, (3, WIDTH))

    def images(count: int) -> np.ndarray:
        noise = known.normal(0, 0.01, (count, WIDTH))
        return (middle + known.normal(0, 1, (count, 3)) @ family + noise).astype(np.float32)

    upright = images(120)
    inverted = (3.0 - images(120)).astype(np.float32)
    copies = Copies(np.arange(120), images(120), inverted)
    folds = list(np.array_split(np.arange(120), 4))
    fitted = fit_frontal(ARCHITECTURE, upright, copies, folds)
    assert fitted.accepted.value >= 0.98
    assert fitted.changed_accepted > 0.9
    assert fitted.clear < fitted.limit
    assert fitted.inverted_known == 1.0
    assert fitted.upright_mistaken == 0.0
    model = unpack(pack(fitted.model), ARCHITECTURE, skips_of(ARCHITECTURE))
    assert (model.distance(ARCHITECTURE, images(50)) <= fitted.limit).mean() > 0.9
    others = known.uniform(1, 2, (50, WIDTH)).astype(np.float32)
    assert (model.distance(ARCHITECTURE, others) > fitted.limit).all()
    assert model.looks_inverted(ARCHITECTURE, 3.0 - images(50)).all()
    stated = described(fitted, 120, "frontal.safetensors")
    assert (stated.images, stated.limit) == (120, fitted.limit)


def test_an_interval_of_a_share_is_wilsons() -> None:
    """Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263."""
    found = wilson(81, 263)
    assert found.low == pytest.approx(0.2553, abs=1e-4)
    assert found.high == pytest.approx(0.3662, abs=1e-4)
