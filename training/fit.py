"""The extension (block6, block7, dense block) trained on cached features of the frozen base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from classifier.network import Architecture, Weights
from training.dataset import Indices
from training.errors import Diverged
from training.features import Progress

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyperparameters of the fit, each with its reason.

    The network's own (filters, dense width, dropout, L2) stand in its `Architecture`.
    """

    epochs: int = 40  # a ceiling: early stopping ends most members between 5 and 20
    patience: int = 6  # epochs without a better validation AUC
    batch: int = 32  # smaller ones are noisier, larger ones slower to converge
    learning_rate: float = 5e-4  # Adam; decays to a twentieth over the epochs (cosine)
    auxiliary_weight: float = 0.3  # further labels shape the maps and must not lead
    label_smoothing: float = 0.05  # the labels are text-mined, with errors
    variants: int = 2  # the image and its mirror image
    min_cases: int = 10  # positive and negative images of a finding, to be learnt at all


@dataclass(frozen=True, slots=True)
class Examples:
    """Cached features with their targets.

    features: (rows, row_size) float16, memory-mapped; see `FeatureKind`.
    rows: (variants, images), the row of each variant of each image.
    targets: (images, targets) 0 or 1, the bundle's findings first.
    findings: how many of the targets are findings.
    """

    features: NDArray[np.float16]
    rows: NDArray[np.int64]
    targets: NDArray[np.uint8]
    findings: int


@dataclass(frozen=True, slots=True)
class Member:
    """One trained extension: its weights, and the logits of the images that it did not see."""

    weights: Weights
    validation: Indices
    logits: Floats
    auc: float
    epochs: int


def fit_member(
    architecture: Architecture,
    examples: Examples,
    train: Indices,
    validation: Indices,
    recipe: Recipe,
    seed: int,
    progress: Progress = lambda *_: None,
) -> Member:
    """Train one extension with early stopping on `validation`; the same seed, the same weights.

    Raises:
        Diverged: the loss is no number.
    """
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    random = np.random.default_rng(seed)
    scale, averages = _normalisation(architecture, examples, train)
    model = _build(architecture, scale, averages, examples.targets.shape[1])
    steps = recipe.epochs * -(-len(train) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps, alpha=0.05)
    weight = np.full(examples.targets.shape[1], recipe.auxiliary_weight, dtype=np.float32)
    weight[: examples.findings] = 1.0
    model.compile(keras.optimizers.Adam(rate), _loss(weight, recipe.label_smoothing))

    best: tuple[float, list[Any], Floats] | None = None
    best_epoch = epoch = 0
    for epoch in range(1, recipe.epochs + 1):
        progress("fit", epoch, recipe.epochs)
        for batch in _batches(train, recipe.batch, random):
            variant = random.integers(len(examples.rows), size=len(batch))
            x = _inputs(architecture, examples.features[examples.rows[variant, batch]])
            loss = float(model.train_on_batch(x, examples.targets[batch].astype(np.float32)))
            if not np.isfinite(loss):
                raise Diverged(f"The loss became {loss} in epoch {epoch}; no bundle was written.")
        logits = _predict(architecture, model, examples, validation)
        auc = macro_auc(examples.targets[validation], logits)
        if best is None or auc > best[0]:
            best, best_epoch = (auc, model.get_weights(), logits), epoch
        elif epoch - best_epoch >= recipe.patience:
            break
    assert best is not None  # recipe.epochs is at least 1
    model.set_weights(best[1])
    weights = _folded(architecture, model, scale, averages, examples.findings)
    return Member(weights, validation, best[2][:, : examples.findings], best[0], best_epoch)


def macro_auc(targets: NDArray[np.uint8], logits: Floats) -> float:
    """Mean ROC-AUC over the findings of `logits` that have both classes; 0.5 where none has."""
    values = [
        roc_auc_score(targets[:, f], logits[:, f])
        for f in range(logits.shape[1])
        if 0 < targets[:, f].sum() < len(targets)
    ]
    return float(np.mean(values)) if values else 0.5


def _build(a: Architecture, scale: Floats, targets: int) -> Any:
    """The extension in its training form, with batch normalisation, which `_folded` takes out."""
    from keras import Input, Model, layers, regularizers

    def block(x: Any, filters: int, name: str) -> Any:
        l2 = regularizers.L2(a.l2)
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, kernel_regularizer=l2, name=f"{name}_conv1"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        return layers.SpatialDropout2D(a.dropout / 2, name=f"{name}_dropout")(x)

    taps = Input((a.grid, a.grid, a.tap_filters), name="taps")
    scaled = layers.Rescaling(scale.tolist(), name="scale")(taps)
    x = block(block(scaled, a.block6_filters, "block6"), a.block7_filters, "block7")
    if a.skip:
        x = layers.Concatenate(name="maps")([x, scaled])
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.BatchNormalization(momentum=0.9, center=False, scale=False, name="pooled_norm")(x)
    x = layers.Dropout(a.dropout, name="pooled_dropout")(x)
    x = layers.Dense(a.dense_units, kernel_regularizer=regularizers.L2(a.l2), name="dense")(x)
    x = layers.Dropout(a.dropout, name="dense_dropout")(layers.ReLU(name="dense_relu")(x))
    return Model(taps, layers.Dense(targets, name="findings")(x))


def _loss(weight: Floats, smoothing: float) -> Any:
    import tensorflow as tf

    def weighted_crossentropy(targets: Any, logits: Any) -> Any:
        smooth = targets * (1 - smoothing) + smoothing / 2
        each = tf.nn.sigmoid_cross_entropy_with_logits(smooth, logits)
        return tf.reduce_mean(tf.reduce_sum(each * weight, axis=1)) / weight.sum()

    return weighted_crossentropy


def _channel_scale(examples: Examples, train: Indices) -> Floats:
    """1 / standard deviation of each channel, from at most 200 images spread over the set.

    A scale without a shift can be folded into the kernels exactly, zero padding included.
    """
    rows = examples.rows[0, train[:: max(1, len(train) // 200)]]
    values = examples.features[np.sort(rows)].astype(np.float32)
    deviation = values.std(axis=(0, 1, 2))
    return np.asarray(1.0 / np.maximum(deviation, 0.01 * deviation.max() + 1e-6), dtype=np.float32)


def _batches(train: Indices, size: int, random: np.random.Generator) -> list[Indices]:
    """A lone last image is left out: batch normalisation needs two."""
    order = random.permutation(train)
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [part for part in parts if len(part) > 1]


def _predict(model: Any, examples: Examples, images: Indices, size: int = 64) -> Floats:
    """Logits of the unchanged images."""
    parts = [
        np.asarray(
            model(examples.features[examples.rows[0, part]].astype(np.float32), training=False)
        )
        for part in np.array_split(images, -(-len(images) // size))
    ]
    return np.concatenate(parts)[:, : examples.findings]


def _folded(
    a: Architecture, model: Any, scale: Floats, findings: int
) -> Mapping[str, NDArray[np.float32]]:
    """Plain convolutions and dense layers: normalisations and the scale become weights."""

    def affine(name: str) -> tuple[Floats, Floats]:
        layer = model.get_layer(name)
        gain = 1.0 / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
        gain = gain * np.asarray(layer.gamma) if layer.scale else gain
        shift = -np.asarray(layer.moving_mean) * gain
        return gain, shift + np.asarray(layer.beta) if layer.center else shift

    weights: dict[str, Floats] = {}
    for name in ("block6", "block7"):
        gain, shift = affine(f"{name}_norm")
        weights[f"{name}_conv1.kernel"] = np.asarray(model.get_layer(f"{name}_conv1").kernel) * gain
        weights[f"{name}_conv1.bias"] = shift
    weights["block6_conv1.kernel"] = weights["block6_conv1.kernel"] * scale[:, np.newaxis]
    gain, shift = affine("pooled_norm")
    dense = model.get_layer("dense")
    kernel = np.asarray(dense.kernel)
    weights["dense.bias"] = np.asarray(dense.bias) + shift @ kernel
    if a.skip:
        gain = gain * np.concatenate([np.ones(a.block7_filters, dtype=np.float32), scale])
    weights["dense.kernel"] = kernel * gain[:, np.newaxis]
    output = model.get_layer("findings")
    weights["findings.kernel"] = np.asarray(output.kernel)[:, :findings]
    weights["findings.bias"] = np.asarray(output.bias)[:findings]
    return {name: np.asarray(w, dtype=np.float32) for name, w in weights.items()}
