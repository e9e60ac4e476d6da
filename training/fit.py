"""The extension (block6, block7, dense block) trained on cached features of the frozen base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from classifier.network import LAYERS, Architecture, Weights
from training.dataset import Indices
from training.errors import Diverged, TrainingError
from training.features import Progress

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Hyperparameters of the fit, each with its reason.

    The network's own (filters, dense width, dropout, L2) stand in its `Architecture`.
    """

    epochs: int = 8  # a ceiling: from the linear start, the added blocks overfit after a few
    patience: int = 3  # epochs without a better validation AUC
    batch: int = 32  # smaller ones are noisier, larger ones slower to converge
    learning_rate: float = 3e-4  # Adam; decays to a twentieth over the epochs (cosine)
    linear_penalty: float = 0.3  # L2 of the linear start; 0.3 to 1 is flat, 4 loses 0.02 AUC
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
class Normalisation:
    """What makes features comparable; all of it is folded into the weights afterwards.

    scale: per channel of the taps. No shift: a scale can be folded exactly, zero padding included.
    gain, shift: per average of the skips; each layer has the same weight whatever its width.
    """

    scale: Floats
    gain: Floats
    shift: Floats


Linear = tuple[Floats, Floats]
"""Kernel (averages, targets) and bias (targets)."""


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
    norm = _normalisation(architecture, examples, train)
    start = _linear_start(architecture, norm, examples, train, recipe.linear_penalty)
    model = _build(architecture, norm, start, examples.targets.shape[1])
    steps = recipe.epochs * -(-len(train) // recipe.batch)
    rate = keras.optimizers.schedules.CosineDecay(recipe.learning_rate, steps, alpha=0.05)
    weight = np.full(examples.targets.shape[1], recipe.auxiliary_weight, dtype=np.float32)
    weight[: examples.findings] = 1.0
    model.compile(keras.optimizers.Adam(rate), _loss(weight, recipe.label_smoothing))

    logits = _predict(architecture, model, examples, validation)
    truth = examples.targets[validation]
    best = (macro_auc(truth, logits), 0, model.get_weights(), logits)
    for epoch in range(1, recipe.epochs + 1):
        progress("fit", epoch - 1, recipe.epochs)
        for batch in _batches(train, recipe.batch, random):
            variant = random.integers(len(examples.rows), size=len(batch))
            x = _inputs(architecture, examples.features[examples.rows[variant, batch]])
            loss = float(model.train_on_batch(x, examples.targets[batch].astype(np.float32)))
            if not np.isfinite(loss):
                raise Diverged(f"The loss became {loss} in epoch {epoch}; no bundle was written.")
        logits = _predict(architecture, model, examples, validation)
        auc = macro_auc(truth, logits)
        if auc > best[0]:
            best = (auc, epoch, model.get_weights(), logits)
        elif epoch - best[1] >= recipe.patience:
            break
    progress("fit", recipe.epochs, recipe.epochs)
    auc, epoch, kept, logits = best
    model.set_weights(kept)
    return Member(_folded(architecture, model, norm), validation, logits, auc, epoch)


def macro_auc(targets: NDArray[np.uint8], logits: Floats) -> float:
    """Mean ROC-AUC over the findings of `logits` that have both classes; 0.5 where none has."""
    values = [
        roc_auc_score(targets[:, f], logits[:, f])
        for f in range(logits.shape[1])
        if 0 < targets[:, f].sum() < len(targets)
    ]
    return float(np.mean(values)) if values else 0.5


def _build(a: Architecture, norm: Normalisation, start: Linear | None, targets: int) -> Any:
    """The extension in its training form: `_folded` turns it into that of `classifier.network`.

    The linear readout of the skips stands beside the dense block here, and goes on from `start`.
    """
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
    averages = Input((a.skip_filters,), name="averages")
    x = layers.Rescaling(norm.scale.tolist(), name="scale")(taps)
    x = block(block(x, a.block6_filters, "block6"), a.block7_filters, "block7")
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    x = layers.BatchNormalization(momentum=0.9, center=False, scale=False, name="pooled_norm")(x)
    x = layers.Dropout(a.dropout, name="pooled_dropout")(x)
    units = a.dense_units - _linear_units(a)
    if units < 1:
        raise TrainingError(
            "The dense block has too few units. Allowed: more than two per finding. Received: "
            f"{a.dense_units}."
        )
    x = layers.Dense(units, kernel_regularizer=regularizers.L2(a.l2), name="dense")(x)
    x = layers.Dropout(a.dropout, name="dense_dropout")(layers.ReLU(name="dense_relu")(x))
    logits = layers.Dense(targets, kernel_initializer="zeros", name="findings")(x)
    if start is None:
        return Model([taps, averages], logits)
    x = layers.Rescaling(norm.gain.tolist(), offset=norm.shift.tolist(), name="standard")(averages)
    linear = layers.Dense(targets, name="linear")
    model = Model([taps, averages], layers.Add(name="logits")([linear(x), logits]))
    linear.set_weights(list(start))
    return model


def _loss(weight: Floats, smoothing: float) -> Any:
    import tensorflow as tf

    def weighted_crossentropy(targets: Any, logits: Any) -> Any:
        smooth = targets * (1 - smoothing) + smoothing / 2
        each = tf.nn.sigmoid_cross_entropy_with_logits(smooth, logits)
        return tf.reduce_mean(tf.reduce_sum(each * weight, axis=1)) / weight.sum()

    return weighted_crossentropy


def _normalisation(a: Architecture, examples: Examples, train: Indices) -> Normalisation:
    """From at most 200 images spread over the set for the taps, from all for the averages."""
    maps, _ = _inputs(a, examples.features[examples.rows[0, train[:: max(1, len(train) // 200)]]])
    averages = _averages(a, examples, examples.rows[:, train].ravel())
    gain = 1.0 / _floored(averages.std(axis=0))
    counts = [LAYERS[name][0] for name in a.skips]
    gain /= np.repeat(np.sqrt(np.array(counts) * len(counts)), counts).astype(np.float32)
    scale = 1.0 / _floored(maps.std(axis=(0, 1, 2)))
    return Normalisation(scale, gain, -averages.mean(axis=0) * gain)


def _linear_start(
    a: Architecture, norm: Normalisation, examples: Examples, train: Indices, penalty: float
) -> Linear | None:
    """Logistic regression of each target on the standardised averages, strongly shrunk."""
    if not a.skips:
        return None
    rows = examples.rows[:, train]
    x = _averages(a, examples, rows.ravel()) * norm.gain + norm.shift
    kernel = np.zeros((x.shape[1], examples.targets.shape[1]), dtype=np.float32)
    bias = np.zeros(kernel.shape[1], dtype=np.float32)
    for column in range(kernel.shape[1]):
        y = np.tile(examples.targets[train, column], len(rows))
        if 0 < y.sum() < len(y):
            # the variants of an image are one case, not several
            model = LogisticRegression(C=1 / (penalty * len(rows)), max_iter=300).fit(x, y)
            kernel[:, column], bias[column] = model.coef_[0], model.intercept_[0]
        else:
            bias[column] = 5.0 if y.any() else -5.0
    return kernel, bias


def _averages(a: Architecture, examples: Examples, rows: NDArray[np.int64]) -> Floats:
    """The skips' averages of rows of the cache: (rows, skip_filters)."""
    first = examples.features.shape[1] - a.skip_filters
    return np.asarray(examples.features[rows, first:], dtype=np.float32)


def _linear_units(a: Architecture) -> int:
    """Of the dense block, two per target carry the linear readout: w and -w, one of them active."""
    return 2 * len(a.targets) if a.skips else 0


def _floored(deviation: Floats) -> Floats:
    """Not so small that a channel that is nearly always silent would be blown up."""
    return np.asarray(np.maximum(deviation, 0.01 * deviation.max(initial=0.0) + 1e-6))


def _inputs(a: Architecture, rows: NDArray[np.float16]) -> tuple[Floats, Floats]:
    """Maps (images, grid, grid, filters) and averages (images, filters) of rows of the cache."""
    wide = rows.astype(np.float32)
    maps = wide[:, : wide.shape[1] - a.skip_filters]
    return maps.reshape(len(rows), a.grid, a.grid, a.tap_filters), wide[:, maps.shape[1] :]


def _batches(train: Indices, size: int, random: np.random.Generator) -> list[Indices]:
    """A lone last image is left out: batch normalisation needs two."""
    order = random.permutation(train)
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    return [part for part in parts if len(part) > 1]


def _predict(
    a: Architecture, model: Any, examples: Examples, images: Indices, size: int = 64
) -> Floats:
    """Logits of the unchanged images."""
    parts = [
        np.asarray(model(_inputs(a, examples.features[examples.rows[0, part]]), training=False))
        for part in np.array_split(images, -(-len(images) // size))
    ]
    return np.concatenate(parts)[:, : examples.findings]


def _folded(a: Architecture, model: Any, norm: Normalisation) -> Mapping[str, Floats]:
    """Plain convolutions and dense layers: the normalisations become weights.

    The linear readout u of the skips becomes units of the dense block, as u = relu(u) - relu(-u).
    """

    def affine(name: str) -> tuple[Floats, Floats]:
        layer = model.get_layer(name)
        gain = 1.0 / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
        gain = gain * np.asarray(layer.gamma) if layer.scale else gain
        shift = -np.asarray(layer.moving_mean) * gain
        return gain, shift + np.asarray(layer.beta) if layer.center else shift

    def dense(name: str) -> tuple[Floats, Floats]:
        layer = model.get_layer(name)
        return np.asarray(layer.kernel), np.asarray(layer.bias)

    weights: dict[str, Floats] = {}
    for name in ("block6", "block7"):
        gain, shift = affine(f"{name}_norm")
        weights[f"{name}_conv1.kernel"] = np.asarray(model.get_layer(f"{name}_conv1").kernel) * gain
        weights[f"{name}_conv1.bias"] = shift
    weights["block6_conv1.kernel"] = weights["block6_conv1.kernel"] * norm.scale[:, np.newaxis]

    findings, units = len(a.targets), a.dense_units - _linear_units(a)
    gain, shift = affine("pooled_norm")
    kernel, bias = dense("dense")
    wide = np.zeros((a.pooled_features, a.dense_units), dtype=np.float32)
    wide[: a.block7_filters, :units] = kernel * gain[:, np.newaxis]
    offset = np.zeros(a.dense_units, dtype=np.float32)
    offset[:units] = bias + shift @ kernel
    out, out_bias = dense("findings")
    readout = [out[:, :findings]]
    if a.skips:
        kernel, bias = (part[..., :findings] for part in dense("linear"))
        unit = np.concatenate([kernel, -kernel], axis=1)
        wide[a.block7_filters :, units:] = unit * norm.gain[:, np.newaxis]
        offset[units:] = np.concatenate([bias, -bias]) + norm.shift @ unit
        eye = np.eye(findings, dtype=np.float32)
        readout += [eye, -eye]
    weights |= {"dense.kernel": wide, "dense.bias": offset}
    weights |= {"findings.kernel": np.concatenate(readout), "findings.bias": out_bias[:findings]}
    return {name: np.asarray(w, dtype=np.float32) for name, w in weights.items()}
