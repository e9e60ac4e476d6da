"""The network as an OpenVINO graph, built from its weights; no TensorFlow, nothing deserialised.

Layout is channels first. The batch is fixed when the graph is built, so that the compiler can
plan its memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from classifier.network import (
    BASE,
    FULL_SCALE,
    LAYERS,
    POOLED,
    STRIDE,
    Architecture,
    Weights,
    fold_grey,
    region_weights,
    skip_parts,
)

BASE_PREFIX = "base/"
LOGITS = "member{}/logits"
"""Names of operations: those of the base, and each member's last, which adds its bias."""

SAME = {"strides": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1], "dilations": [1, 1]}


def network_graph(architecture: Architecture, weights: Weights, batch: int = 1) -> ov.Model:
    """Input "image" (batch, side, side) uint8; three outputs of one pass.

    "logits" (batch, members, targets), of which the network's logit is the mean.
    "maps" (batch, targets, grid, grid) is Grad-CAM (Selvaraju et al., ICCV 2017) of each target on
    the maps that are averaged before the dense block. The gradient of target t by map c is
    sum_u W2[u, t] [h_u > 0] W1[c, u] / positions, so that no backward pass is needed.
    "averages" (batch, filters) are those of the skips, which the dense blocks read.
    """
    image, layers = _base(architecture.side, weights, batch)
    taps = _side_by_side([layers[name] for name in architecture.taps])
    skips = [_skip(layers, skip, architecture.grid) for skip in architecture.skips]
    members = [_member(architecture, weights, m, taps, skips) for m in range(architecture.members)]
    grid, targets = architecture.grid, len(architecture.targets)
    logits = op.reshape(
        _side_by_side([logits for logits, _ in members]),
        _ints([batch, architecture.members, targets]), False,
    )  # fmt: skip
    maps = op.relu(_mean([maps for _, maps in members]))
    maps = op.reshape(maps, _ints([batch, targets, grid, grid]), False)
    outputs = [_named(logits, "logits"), _named(maps, "maps")]
    if skips:
        outputs.append(_named(_averages(skips), "averages"))
    return ov.Model(outputs, [image], "extended_vgg16")


def base_graph(
    side: int, taps: Sequence[str], skips: Sequence[str], weights: Weights, batch: int = 1
) -> ov.Model:
    """The base alone. Input as above; outputs "taps" (batch, grid, grid, filters), channels last as
    in Keras, and, with any skips, "averages" (batch, filters).
    """
    image, layers = _base(side, weights, batch)
    maps = _side_by_side([layers[name] for name in taps])
    outputs = [_named(op.transpose(maps, _ints([0, 2, 3, 1])), "taps")]
    if skips:
        grid = side // STRIDE
        averages = _averages([_skip(layers, skip, grid) for skip in skips])
        outputs.append(_named(averages, "averages"))
    return ov.Model(outputs, [image], "vgg16_base")


def base_operations(graph: ov.Model) -> list[str]:
    """Names of the operations of the base's convolutions: what is worth quantising."""
    names = (node.get_friendly_name() for node in graph.get_ordered_ops())
    return [name for name in names if name.startswith(BASE_PREFIX)]


def _base(side: int, weights: Weights, batch: int) -> tuple[Any, dict[str, Any]]:
    image = op.parameter([batch, side, side], np.uint8, name="image")
    grey = op.unsqueeze(op.convert(image, np.float32), _ints([1]))
    constant = op.constant(np.full((batch, 1, side, side), FULL_SCALE, dtype=np.float32))
    x: Any = op.concat([grey, constant], axis=1)
    layers: dict[str, Any] = {}
    for index, (name, _) in enumerate(BASE):
        kernel = weights[f"{name}.kernel"]
        kernel = fold_grey(kernel) if index == 0 else kernel
        x = _convolution(x, kernel, weights[f"{name}.bias"], BASE_PREFIX + name)
        layers[name] = x
        pool = f"{name[:6]}_pool"
        if pool in POOLED and BASE[index + 1][0][:6] != name[:6]:
            x = op.max_pool(x, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2], "floor", "explicit")
            x.set_friendly_name(BASE_PREFIX + pool)
            x = x.output(0)
            layers[pool] = x
    return image, layers


def _member(
    a: Architecture, weights: Weights, member: int, taps: Any, skips: list[Any]
) -> tuple[Any, Any]:
    """Logits (batch, targets) and gradient-weighted maps (batch, targets, positions)."""
    w = {name: weights[f"{member}.{name}"] for name in _names(member, weights)}
    x = _convolution(taps, w["block6_conv1.kernel"], w["block6_conv1.bias"])
    x = _convolution(x, w["block7_conv1.kernel"], w["block7_conv1.bias"])
    x = _side_by_side([x, *skips])
    pooled = op.reduce_mean(x, _ints([2, 3]), False)
    dense, out = _halves(w["dense.kernel"]), _halves(w["findings.kernel"])
    units = op.add(op.matmul(pooled, dense, False, False), _floats(w["dense.bias"]))
    logits = op.add(op.matmul(op.relu(units), out, False, False), _floats(w["findings.bias"]))
    logits.set_friendly_name(LOGITS.format(member))
    active = op.convert(op.greater(units, np.float32(0)), np.float32)
    paths = op.multiply(op.unsqueeze(active, _ints([1])), op.transpose(out, _ints([1, 0])))
    gradient = op.matmul(paths, dense, False, True)
    positions = a.grid * a.grid
    flat = op.reshape(x, _ints([0, a.pooled_features, positions]), True)
    maps = op.matmul(op.multiply(gradient, np.float32(1 / positions)), flat, False, False)
    return logits, maps


def _names(member: int, weights: Weights) -> list[str]:
    prefix = f"{member}."
    return [name.removeprefix(prefix) for name in weights if name.startswith(prefix)]


def _convolution(
    x: Any, kernel: NDArray[np.float32], bias: NDArray[np.float32], name: str = ""
) -> Any:
    filters = kernel.transpose(3, 2, 0, 1)
    steps = [op.convolution(x, _floats(filters) if name else _halves(filters), **SAME)]
    steps.append(op.add(steps[-1], _floats(bias.reshape(1, -1, 1, 1))))
    steps.append(op.relu(steps[-1]))
    if name:
        for step, what in zip(steps, ("", "/bias", "/relu"), strict=True):
            step.set_friendly_name(name + what)
    return steps[-1]


def _averages(skips: list[Any]) -> Any:
    return _side_by_side([op.reduce_mean(maps, _ints([2, 3]), False) for maps in skips])


def _skip(layers: dict[str, Any], skip: str, grid: int) -> Any:
    """Averages over the cells of the last maps: the average over the image stays the same."""
    layer, region = skip_parts(skip)
    maps, cell = layers[layer], STRIDE // LAYERS[layer][1]
    if cell > 1:
        maps = op.avg_pool(maps, [cell, cell], [0, 0], [0, 0], [cell, cell], True)
    if region:
        maps = op.multiply(maps, _floats(region_weights(grid)[np.newaxis, np.newaxis]))
    return maps


def _side_by_side(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else op.concat(parts, axis=1)


def _mean(parts: list[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = op.add(total, part)
    return total if len(parts) == 1 else op.multiply(total, np.float32(1 / len(parts)))


def _named(node: Any, name: str) -> Any:
    result = op.result(node, name=name)
    result.output(0).set_names({name})
    return result


def _floats(values: NDArray[Any]) -> Any:
    return op.constant(np.ascontiguousarray(values, dtype=np.float32))


def _halves(values: NDArray[Any]) -> Any:
    """As a bundle keeps them: a graph that is stored is no larger than it must be."""
    half = op.constant(np.ascontiguousarray(values, dtype=np.float16))
    return op.convert(half, np.float32)


def _ints(values: list[int]) -> Any:
    return op.constant(np.array(values, dtype=np.int64))
