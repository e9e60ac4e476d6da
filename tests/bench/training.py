"""Training: an epoch on cached features against an epoch of the same network without a cache."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

Measured = Iterator[tuple[str, float, str]]
DEMO = Path("deploy") / "demo"
REPEATED = 256  # images of an epoch: the twelve of the demo, again and again
WHOLE = 32  # images through the whole network


def training() -> Measured:
    """Seconds per image and epoch, base frozen, the paper's two blocks and dense block."""
    cached, size = _cached()
    yield "training on cached features, an image and epoch", 1000 * cached, "ms"
    whole = _whole()
    yield "training through the whole network, an image and epoch", 1000 * whole, "ms"
    yield "an epoch on cached features against uncached", whole / cached, "x"
    yield "feature cache, an image", size / 1024, "KiB"


def _cached() -> tuple[float, float]:
    import keras

    from training.assemble import PREPROCESSING
    from training.base import base_weights
    from training.benavente import ARCHITECTURE
    from training.dataset import read_dataset
    from training.extension import Normalisation, build
    from training.features import FeatureCache, FeatureKind, compute_features
    from training.fit import Recipe, _epoch, _loss
    from training.labels import FINDINGS
    from training.train import examples_of

    base = base_weights(None)
    with tempfile.TemporaryDirectory(dir="build") as folder:
        kind = FeatureKind(ARCHITECTURE.taps, ARCHITECTURE.skips, PREPROCESSING, ARCHITECTURE.side)
        cache = FeatureCache(Path(folder), kind, base)
        data = compute_features(read_dataset(DEMO), cache, base, 1)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.f16")) / len(data.cases)
        recipe = Recipe()
        once = examples_of(data, cache, FINDINGS, recipe)
        times = -(-REPEATED // len(data.cases))
        examples = replace(
            once, rows=np.tile(once.rows, (1, times)), targets=np.tile(once.targets, (times, 1))
        )
        train = np.arange(REPEATED)
        filters = ARCHITECTURE.tap_filters
        norm = Normalisation(np.ones(filters, "f4"), np.ones(0, "f4"), np.zeros(0, "f4"))
        model = build(ARCHITECTURE, norm, None, examples.targets.shape[1])
        model.compile(keras.optimizers.Adam(1e-3), _loss(examples, train, recipe))
        _epoch(ARCHITECTURE, model, examples, train[:64], recipe, 0, 1)  # compiles
        started = time.monotonic()
        _epoch(ARCHITECTURE, model, examples, train, recipe, 0, 2)
        return (time.monotonic() - started) / REPEATED, size


def _whole() -> float:
    import keras

    from classifier.network import BASE, weight_shapes
    from classifier.reference import keras_network
    from training.base import base_weights
    from training.benavente import ARCHITECTURE

    random = np.random.default_rng(0)
    base = base_weights(None)
    weights = {
        name: base[name] if name in base else random.normal(0, 0.01, shape).astype("f4")
        for name, shape in weight_shapes(ARCHITECTURE).items()
    }
    whole = keras_network(ARCHITECTURE, weights)
    for name, _ in BASE:
        whole.get_layer(name).trainable = False
    model = keras.Model(whole.input, whole.outputs[0])
    model.compile(keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(from_logits=True))
    side = ARCHITECTURE.side
    images = random.integers(0, 256, (WHOLE, side, side, 1)).astype("f4")
    targets = random.integers(0, 2, (WHOLE, len(ARCHITECTURE.targets))).astype("f4")
    model.train_on_batch(images[:16], targets[:16])  # compiles
    started = time.monotonic()
    for first in range(0, WHOLE, 16):
        model.train_on_batch(images[first : first + 16], targets[first : first + 16])
    return (time.monotonic() - started) / WHOLE
