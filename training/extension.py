"""The extension in its training form, on normalised features, and folded into that of a bundle.

In training the added blocks have batch normalisation and dropout, and a linear readout of the
skips stands beside the dense block. A bundle has plain convolutions and one dense block: the
normalisations become weights, and the readout becomes units of the dense block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize  # type: ignore[import-untyped]

from classifier.network import Architecture, skip_filters
from training.errors import TrainingError

Floats = NDArray[np.float32]
Halves = NDArray[np.float16]

CHUNK = 1024
"""Rows that are wide at a time, so that memory does not grow with the data set."""


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What makes features comparable; all of it is folded into the weights afterwards.

    scale: per channel of the taps. No shift: a scale can be folded exactly, zero padding included.
    gain, shift: per average of the skips; each skip has the same weight whatever its width.
    """

    scale: Floats
    gain: Floats
    shift: Floats


Linear = tuple[Floats, Floats]
"""Kernel (averages, targets) and bias (targets)."""

ClassWeights = tuple[Floats, Floats]
"""Weight of a positive and of a negative case, per target."""


def normalisation(a: Architecture, maps: Floats, averages: Halves) -> Normalisation:
    """From maps (images, grid, grid, filters) and the skips' averages (rows, skip_filters)."""
    mean = averages.mean(axis=0, dtype=np.float64)
    square = np.zeros_like(mean)
    for part in _chunks(averages):
        square += ((part.astype(np.float64) - mean) ** 2).sum(axis=0)
    gain = 1.0 / _floored(np.sqrt(square / max(1, len(averages))))
    counts = [skip_filters(skip) for skip in a.skips]
    gain /= np.repeat(np.sqrt(np.array(counts, dtype=np.float64) * len(counts)), counts)
    scale = 1.0 / _floored(maps.std(axis=(0, 1, 2)))
    return Normalisation(scale.astype("f4"), gain.astype("f4"), (-mean * gain).astype("f4"))


def linear_start(
    norm: Normalisation,
    averages: Halves | Floats,
    targets: NDArray[np.uint8],
    penalty: float,
    balance: ClassWeights,
    offset: Floats | None = None,
    start: Linear | None = None,
) -> Linear:
    """Logistic regression of each target on the standardised averages, strongly shrunk.

    averages: (variants, images, features); the variants of an image are one case, not several.
    targets: (images, targets). offset: logits (variants * images, targets) that stand already.
    start: where the search begins, which changes its time and not its end.

    Minimises the sum over targets of mean weighted cross-entropy plus penalty / (2 images) times
    the squared kernel; one optimum, found by L-BFGS.
    """
    variants, images, features = averages.shape
    rows = averages.reshape(variants * images, features)
    truth = np.tile(targets, (variants, 1)).astype(np.float32)
    count = targets.shape[1]

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        kernel, bias = flat[:-count].reshape(features, count), flat[-count:]
        gradient, intercept = penalty / images * kernel, np.zeros(count)
        loss = penalty / (2 * images) * float((kernel**2).sum())
        narrow, first = kernel.astype(np.float32), 0
        for part in _chunks(rows):
            x = part * norm.gain + norm.shift
            y = truth[first : first + len(part)]
            logits = x @ narrow + bias.astype(np.float32)
            if offset is not None:
                logits = logits + offset[first : first + len(part)]
            weight = y * balance[0] + (1 - y) * balance[1]
            loss += float((weight * (np.logaddexp(0, logits) - y * logits)).sum()) / len(rows)
            wrong = weight * (1 / (1 + np.exp(-logits)) - y) / len(rows)
            gradient = gradient + x.T @ wrong
            intercept += wrong.sum(axis=0)
            first += len(part)
        return loss, np.concatenate([gradient.ravel(), intercept])

    found = minimize(
        objective,
        np.zeros((features + 1) * count)
        if start is None
        else np.concatenate([start[0].ravel(), start[1]]).astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 200, "ftol": 1e-9},
    ).x.astype(np.float32)
    return found[:-count].reshape(features, count), found[-count:]


def class_weights(targets: NDArray[np.uint8]) -> ClassWeights:
    """Both classes of a target count alike, and each target as much as without weights."""
    share = np.clip(targets.mean(axis=0), 0.005, 0.995)
    return (0.5 / share).astype(np.float32), (0.5 / (1 - share)).astype(np.float32)


def build(a: Architecture, norm: Normalisation, start: Linear | None, targets: int) -> Any:
    """Inputs "taps" and "averages", output logits; the readout goes on from `start`."""
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


def folded(a: Architecture, model: Any, norm: Normalisation) -> Mapping[str, Floats]:
    """Weights of one member, as `classifier.network.member_shapes` names them.

    The linear readout u of the skips becomes units of the dense block, as u = relu(u) - relu(-u).
    """
    weights = _blocks(model, norm)
    findings, units = len(a.targets), a.dense_units - _linear_units(a)
    gain, shift = _affine(model.get_layer("pooled_norm"))
    kernel, bias = _dense(model.get_layer("dense"))
    wide = np.zeros((a.pooled_features, a.dense_units), dtype=np.float32)
    wide[: a.block7_filters, :units] = kernel * gain[:, np.newaxis]
    offset = np.zeros(a.dense_units, dtype=np.float32)
    offset[:units] = bias + shift @ kernel
    out, out_bias = _dense(model.get_layer("findings"))
    readout = [out[:, :findings]]
    if a.skips:
        kernel, bias = (part[..., :findings] for part in _dense(model.get_layer("linear")))
        unit = np.concatenate([kernel, -kernel], axis=1)
        wide[a.block7_filters :, units:] = unit * norm.gain[:, np.newaxis]
        offset[units:] = np.concatenate([bias, -bias]) + norm.shift @ unit
        eye = np.eye(findings, dtype=np.float32)
        readout += [eye, -eye]
    weights |= {"dense.kernel": wide, "dense.bias": offset}
    weights |= {"findings.kernel": np.concatenate(readout), "findings.bias": out_bias[:findings]}
    return {name: np.asarray(w, dtype=np.float32) for name, w in weights.items()}


def _blocks(model: Any, norm: Normalisation) -> dict[str, Floats]:
    weights: dict[str, Floats] = {}
    for name in ("block6", "block7"):
        gain, shift = _affine(model.get_layer(f"{name}_norm"))
        weights[f"{name}_conv1.kernel"] = np.asarray(model.get_layer(f"{name}_conv1").kernel) * gain
        weights[f"{name}_conv1.bias"] = shift
    weights["block6_conv1.kernel"] = weights["block6_conv1.kernel"] * norm.scale[:, np.newaxis]
    return weights


def _affine(layer: Any) -> tuple[Floats, Floats]:
    """Gain and shift of a batch normalisation."""
    gain = 1.0 / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
    gain = gain * np.asarray(layer.gamma) if layer.scale else gain
    shift = -np.asarray(layer.moving_mean) * gain
    return gain, shift + np.asarray(layer.beta) if layer.center else shift


def _dense(layer: Any) -> Linear:
    return np.asarray(layer.kernel), np.asarray(layer.bias)


def _linear_units(a: Architecture) -> int:
    """Of the dense block, two per target carry the linear readout: w and -w, one of them active."""
    return 2 * len(a.targets) if a.skips else 0


def _floored(deviation: NDArray[Any]) -> NDArray[np.float64]:
    """Not so small that a channel that is nearly always silent would be blown up."""
    return np.asarray(np.maximum(deviation, 0.01 * deviation.max(initial=0.0) + 1e-6))


def _chunks(rows: Halves | Floats) -> list[Halves | Floats]:
    return [rows[first : first + CHUNK] for first in range(0, len(rows), CHUNK)]
