"""The reference engine: the same network by Keras, with the base exactly as published.

It repeats the grey image in three channels and subtracts the means, so that agreement with the
other engines proves the folding of `classifier.network.fold_grey`. Imports TensorFlow.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from classifier.bundle import Bundle
from classifier.engine import Outputs
from classifier.network import (
    BASE,
    CHANNEL_MEANS,
    LAYERS,
    STRIDE,
    Architecture,
    Weights,
    region_weights,
    skip_parts,
)


def keras_network(architecture: Architecture, weights: Weights) -> keras.Model:
    """Input (side, side, 1) grey 0 to 255; outputs per member its logits, maps and units.

    `maps_M` (grid, grid, features) are averaged before the dense block, `units_M` (dense_units)
    are that block's values before its ReLU.
    """
    image = keras.Input((architecture.side, architecture.side, 1), name="image")
    x = layers.Concatenate(name="grey_to_bgr")([image, image, image])
    x = layers.Rescaling(1.0, offset=[-float(mean) for mean in CHANNEL_MEANS], name="means")(x)
    tapped = {}
    for index, (name, filters) in enumerate(BASE):
        x = tapped[name] = _convolution(filters, name)(x)
        last = index + 1 == len(BASE)
        if not last and BASE[index + 1][0][:6] != name[:6]:
            pool = f"{name[:6]}_pool"
            x = tapped[pool] = layers.MaxPooling2D(2, name=pool)(x)
    taps = [tapped[name] for name in architecture.taps]
    joined = taps[0] if len(taps) == 1 else layers.Concatenate(name="taps")(taps)
    skips = []
    for name, region in map(skip_parts, architecture.skips):
        cell = STRIDE // LAYERS[name][1]
        maps = layers.AveragePooling2D(cell)(tapped[name]) if cell > 1 else tapped[name]
        if region:
            maps = maps * region_weights(architecture.grid)[np.newaxis, ..., np.newaxis]
        skips.append(maps)
    members = [_member(architecture, m, joined, skips) for m in range(architecture.members)]
    model = keras.Model(image, [part for member in members for part in member])
    for layer in model.layers:
        if layer.weights:
            name = layer.name.replace("member", "").replace("_", ".", 1)
            name = name if layer.name.startswith("member") else layer.name
            layer.set_weights([weights[f"{name}.kernel"], weights[f"{name}.bias"]])
    return model


def _convolution(filters: int, name: str) -> Any:
    return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)


def _member(a: Architecture, member: int, joined: Any, skips: list[Any]) -> tuple[Any, Any, Any]:
    prefix = f"member{member}_"
    x = _convolution(a.block6_filters, f"{prefix}block6_conv1")(joined)
    x = _convolution(a.block7_filters, f"{prefix}block7_conv1")(x)
    maps = layers.Concatenate(name=f"{prefix}maps")([x, *skips]) if skips else x
    pooled = layers.GlobalAveragePooling2D(name=f"{prefix}pooled")(maps)
    units = layers.Dense(a.dense_units, name=f"{prefix}dense")(pooled)
    active = layers.ReLU(name=f"{prefix}relu")(units)
    logits = layers.Dense(len(a.targets), name=f"{prefix}findings")(active)
    return logits, maps, units


class TensorFlowEngine:
    """The bundle by Keras: slow, and what the others are compared with."""

    name = "tensorflow"

    def __init__(self, bundle: Bundle, reason: str) -> None:
        self.reason = reason
        self._architecture = bundle.manifest.architecture
        self._weights = bundle.weights()
        self.model = keras_network(self._architecture, self._weights)

    def run(self, batch: NDArray[np.uint8]) -> Outputs:
        """See `classifier.engine.Engine.run`."""
        image = batch[..., np.newaxis].astype(np.float32)
        parts = [np.asarray(output) for output in self.model(image, training=False)]
        logits, maps, units = parts[0::3], parts[1::3], parts[2::3]
        activation = sum(
            self._activation(member, maps[member], units[member]) for member in range(len(logits))
        )
        grid, members = self._architecture.grid, np.stack(logits, axis=1)
        shape = (len(batch), members.shape[-1], grid, grid)
        return Outputs(
            members,
            np.maximum(activation / np.float32(len(logits)), 0).reshape(shape),
            maps[0][..., self._architecture.block7_filters :].mean(axis=(1, 2)),
        )

    def _activation(
        self, member: int, maps: NDArray[np.float32], units: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Gradient of each logit by each map's average, times the maps (N, findings, cells)."""
        dense = self._weights[f"{member}.dense.kernel"]
        findings = self._weights[f"{member}.findings.kernel"]
        gradient = np.einsum("cu,nu,uf->nfc", dense, units > 0, findings)
        flat = maps.reshape(len(maps), -1, maps.shape[-1])
        activation = np.einsum("nfc,npc->nfp", gradient, flat) / flat.shape[1]
        return np.asarray(activation, dtype=np.float32)
