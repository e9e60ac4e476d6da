"""The network as an OpenVINO graph, built from its weights; no TensorFlow, nothing deserialised.

Layout is channels first. The batch is fixed when the graph is built, so that the compiler can
plan its memory.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
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
BLOCK6 = "block6/conv1"
LOGITS = "logits/bias"
"""Names of operations: those of the base, and the last, which adds each member's own bias."""

_NUMBERED = re.compile(r"[A-Z][A-Za-z]*_[0-9]+")  # a name that OpenVINO gave

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
    skips = _skips(layers, architecture.skips, architecture.grid)
    blocks = _blocks(architecture, weights, [layers[name] for name in architecture.taps])
    logits, maps = _dense(architecture, weights, blocks, skips)
    outputs = [_named(logits, "logits"), _named(maps, "maps")]
    if skips:
        outputs.append(_named(_averages(skips), "averages"))
    graph = ov.Model(outputs, [image], "extended_vgg16")
    name_in_order(graph)
    return graph


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
        outputs.append(_named(_averages(_skips(layers, skips, side // STRIDE)), "averages"))
    return ov.Model(outputs, [image], "vgg16_base")


def name_in_order(graph: ov.Model) -> None:
    """Number what has no name by its place in the graph.

    OpenVINO counts through the life of the process, so that the same graph made twice would be
    stored in other bytes.
    """
    for place, node in enumerate(graph.get_ordered_ops()):
        if _NUMBERED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{place}")


def worth_quantising(graph: ov.Model) -> list[str]:
    """Names of the operations of the base's convolutions, and of block6's beside skips.

    Without skips block6 carries the whole logit, and bytes are too coarse for it.
    """
    names = (node.get_friendly_name() for node in graph.get_ordered_ops())
    return [name for name in names if name.startswith((BASE_PREFIX, BLOCK6))]


def _base(side: int, weights: Weights, batch: int) -> tuple[Any, dict[str, Any]]:
    image = op.parameter([batch, side, side], np.uint8, name="image")
    # joined as bytes: what is converted before is multiplied as floats, in int8 too
    constant = op.constant(np.full((batch, 1, side, side), FULL_SCALE, dtype=np.uint8))
    x: Any = op.convert(op.concat([op.unsqueeze(image, _ints([1])), constant], axis=1), np.float32)
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


def _blocks(a: Architecture, weights: Weights, taps: list[Any]) -> Any:
    """The last maps of all members, (batch, positions, members * filters).

    One convolution of all members side by side, then one of as many groups.
    """
    names = [f"block{n}_conv1.{part}" for n in (6, 7) for part in ("kernel", "bias")]
    kernel6, bias6, kernel7, bias7 = (_members(a, weights, name) for name in names)
    name = BLOCK6 if a.skips else ""
    x = _convolution(
        _side_by_side(taps), np.concatenate(kernel6, axis=-1), np.concatenate(bias6), name
    )
    if a.members == 1:
        x = _convolution(x, kernel7[0], bias7[0])
    else:
        x = op.group_convolution(x, _halves(np.stack(kernel7).transpose(0, 4, 3, 1, 2)), **SAME)
        x = op.relu(op.add(x, _floats(np.concatenate(bias7).reshape(1, -1, 1, 1))))
    return _positions(x, a.grid)


def _dense(a: Architecture, weights: Weights, blocks: Any, skips: list[_Skip]) -> tuple[Any, Any]:
    """Logits (batch, members, targets) and the maps. Products run over all members at once."""
    count, units, targets, filters = a.members, a.dense_units, len(a.targets), a.block7_filters
    dense = np.stack(_members(a, weights, "dense.kernel"))
    own = _halves(dense[:, :filters])
    findings = _halves(np.stack(_members(a, weights, "findings.kernel")))
    mean = _mean_of(blocks, np.ones(a.grid**2))
    hidden = op.matmul(op.reshape(mean, _ints([-1, count, 1, filters]), False), own, False, False)
    hidden = op.add(hidden, _floats(np.stack(_members(a, weights, "dense.bias"))[:, np.newaxis]))
    shared = None
    if skips:  # (features of the skips, units of all members)
        shared = _halves(dense[:, filters:].transpose(1, 0, 2).reshape(-1, count * units))
        read = op.matmul(_averages(skips), shared, False, False)
        hidden = op.add(hidden, op.reshape(read, _ints([-1, count, 1, units]), False))
    logits = op.matmul(op.relu(hidden), findings, False, False)
    bias = np.stack(_members(a, weights, "findings.bias"))[:, np.newaxis]
    logits = op.add(logits, _floats(bias))
    logits.set_friendly_name(LOGITS)
    active = op.convert(op.greater(hidden, np.float32(0)), np.float32)
    scale = np.float32(1 / (count * a.grid**2))
    paths = op.multiply(op.multiply(active, scale), op.transpose(findings, _ints([0, 2, 1])))
    gradient = op.matmul(own, paths, False, True)  # (batch, members, filters, targets)
    gradient = op.reshape(gradient, _ints([-1, count * filters, targets]), False)
    maps = op.matmul(blocks, gradient, False, False)
    if shared is not None:
        paths = op.transpose(paths, _ints([0, 2, 1, 3]))
        paths = op.reshape(paths, _ints([-1, targets, count * units]), False)
        maps = op.add(maps, _seen_by(skips, op.matmul(paths, shared, False, True)))
    maps = op.relu(op.transpose(maps, _ints([0, 2, 1])))
    return (
        op.reshape(logits, _ints([-1, count, targets]), False),
        op.reshape(maps, _ints([-1, targets, a.grid, a.grid]), False),
    )


def _members(a: Architecture, weights: Weights, name: str) -> list[NDArray[np.float32]]:
    return [weights[f"{member}.{name}"] for member in range(a.members)]


def _convolution(
    x: Any, kernel: NDArray[np.float32], bias: NDArray[np.float32], name: str = ""
) -> Any:
    filters = kernel.transpose(3, 2, 0, 1)
    steps = [
        op.convolution(
            x, _floats(filters) if name.startswith(BASE_PREFIX) else _halves(filters), **SAME
        )
    ]
    steps.append(op.add(steps[-1], _floats(bias.reshape(1, -1, 1, 1))))
    steps.append(op.relu(steps[-1]))
    if name:
        for step, what in zip(steps, ("", "/bias", "/relu"), strict=True):
            step.set_friendly_name(name + what)
    return steps[-1]


@dataclass(frozen=True)
class _Skip:
    """Maps (batch, positions, filters), and how much each position counts, of mean 1."""

    maps: Any
    filters: int
    weights: NDArray[Any]


def _skips(layers: dict[str, Any], skips: Sequence[str], grid: int) -> list[_Skip]:
    """Averages over the cells of the last maps: the average over the image stays the same."""
    reduced: dict[str, Any] = {}
    found = []
    for layer, region in map(skip_parts, skips):
        filters, stride = LAYERS[layer]
        cell = STRIDE // stride
        if layer not in reduced:
            maps = layers[layer]
            if cell > 1:
                maps = op.avg_pool(maps, [cell, cell], [0, 0], [0, 0], [cell, cell], True)
            reduced[layer] = _positions(maps, grid)
        weights = region_weights(grid).ravel() if region else np.ones(grid * grid)
        found.append(_Skip(reduced[layer], filters, weights))
    return found


def _averages(skips: list[_Skip]) -> Any:
    """(batch, filters of all skips)."""
    means = [op.squeeze(_mean_of(skip.maps, skip.weights), _ints([1])) for skip in skips]
    return _side_by_side(means)


def _seen_by(skips: list[_Skip], gradient: Any) -> Any:
    """Maps (batch, positions, targets) of a gradient (batch, targets, filters of all skips)."""
    lengths = _ints([skip.filters for skip in skips])
    parts = op.variadic_split(gradient, np.int64(2), lengths).outputs()
    total: Any = None
    for skip, part in zip(skips, parts, strict=True):
        maps = op.matmul(skip.maps, part, False, True)
        if np.ptp(skip.weights):
            maps = op.multiply(maps, _floats(skip.weights[:, np.newaxis]))
        total = maps if total is None else op.add(total, maps)
    return total


def _positions(maps: Any, grid: int) -> Any:
    """(batch, filters, grid, grid) as (batch, positions, filters): the compiler's own layout."""
    last = op.transpose(maps, _ints([0, 2, 3, 1]))
    return op.reshape(last, _ints([0, grid * grid, -1]), True)


def _mean_of(maps: Any, weights: NDArray[Any]) -> Any:
    """Over the positions (batch, 1, filters), each counted by its weight."""
    return op.matmul(_floats(weights[np.newaxis, np.newaxis] / weights.size), maps, False, False)


def _side_by_side(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else op.concat(parts, axis=1)


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
