"""The extended VGG16: what it is made of, the names and shapes of its weights.

Base: block1 to block5 of VGG16 (Simonyan and Zisserman, 2014) by Keras' layer names. Extension, as
in Benavente, Gatica and González-Feliu, Axioms 2022, 11, 115: two convolutional blocks (block6,
block7) and one dense block with dropout and L2. The maps are averaged over the image before the
dense block, so that the class activation map has a closed form.

Weights are a mapping from "layer.kernel" and "layer.bias" to arrays in Keras' layout (height,
width, in, out). The base is kept as published, with its three-channel first kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Weights = Mapping[str, NDArray[np.float32]]

BASE: tuple[tuple[str, int], ...] = (
    ("block1_conv1", 64),
    ("block1_conv2", 64),
    ("block2_conv1", 128),
    ("block2_conv2", 128),
    ("block3_conv1", 256),
    ("block3_conv2", 256),
    ("block3_conv3", 256),
    ("block4_conv1", 512),
    ("block4_conv2", 512),
    ("block4_conv3", 512),
    ("block5_conv1", 512),
    ("block5_conv2", 512),
    ("block5_conv3", 512),
)
"""The base's convolutions (3 x 3, ReLU) and their filters; blocks 1 to 4 end in a 2 x 2 maximum.

block5's own maximum is left out: the added blocks see 14 x 14 for an input of 224 x 224.
"""

POOLED = ("block1_pool", "block2_pool", "block3_pool", "block4_pool")
STRIDE = 16
"""Input pixels per position of the last maps."""

CHANNEL_MEANS = np.array([103.939, 116.779, 123.68])
"""Of ImageNet in blue, green, red, which `keras.applications.vgg16.preprocess_input` subtracts."""

FULL_SCALE = 255.0
"""Value of the constant second channel of the folded input."""

LAYERS: dict[str, tuple[int, int]] = {
    **{name: (filters, 2 ** (int(name[5]) - 1)) for name, filters in BASE},
    **{name: ((64, 128, 256, 512)[i], 2 ** (i + 1)) for i, name in enumerate(POOLED)},
}
"""Filters and stride (input pixels per position) of each layer of the base."""

TAPS = tuple(name for name, (_, stride) in LAYERS.items() if stride == STRIDE)
"""Layers of the base that have the resolution of the last maps."""


REGIONS = ("lungs",)
"""Parts of the image that a skip may be averaged over."""

LUNG_CENTRES = ((0.54, 0.34), (0.54, 0.66))
LUNG_SPREAD = (0.13, 0.086)
"""Height and width as shares of the image: Gaussians on the middle of either lung of a frontal
radiograph, the same when mirrored."""


def skip_parts(skip: str) -> tuple[str, str]:
    """Layer and region of a skip, "layer" or "layer@region"; the whole image has region ""."""
    layer, _, region = skip.partition("@")
    return layer, region


def skip_filters(skip: str) -> int:
    """Averages that a skip has."""
    return LAYERS[skip_parts(skip)[0]][0]


def region_weights(grid: int) -> NDArray[np.float32]:
    """Of the lungs, (grid, grid) of mean 1: the average of maps times these is the region's."""
    middles = (np.arange(grid) + 0.5) / grid
    weights = np.zeros((grid, grid))
    for centre in LUNG_CENTRES:
        row, column = (
            np.exp(-(((middles - at) / spread) ** 2) / 2)
            for at, spread in zip(centre, LUNG_SPREAD, strict=True)
        )
        weights += np.outer(row, column)
    return np.asarray(weights / weights.mean(), dtype=np.float32)


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Architecture:
    """One extended VGG16. A value of this class and weights of its shapes are a network.

    taps: layers of the base whose maps, side by side, are the input of block6.
    skips: layers of the base whose averages enter the dense block too, after those of block7;
        "layer" is averaged over the image, "layer@region" over a region.
    members: copies of the extension on the one base; the logit is the mean of theirs.
    dropout and l2 were in force in training and do nothing afterwards.
    """

    targets: tuple[str, ...]
    side: Annotated[int, Field(ge=64, le=1024, multiple_of=STRIDE)] = 224
    taps: tuple[str, ...] = ("block5_conv3",)
    block6_filters: Annotated[int, Field(ge=1, le=1024)] = 128
    block7_filters: Annotated[int, Field(ge=1, le=1024)] = 128
    skips: tuple[str, ...] = ()
    dense_units: Annotated[int, Field(ge=1, le=4096)] = 64
    members: Annotated[int, Field(ge=1, le=32)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    l2: Annotated[float, Field(ge=0)] = 1e-4

    def __post_init__(self) -> None:
        if not self.taps or not set(self.taps) <= set(TAPS):
            raise ValueError(f"taps must be some of {', '.join(TAPS)}. Received: {self.taps}")
        for layer, region in map(skip_parts, self.skips):
            if layer not in LAYERS or region not in {"", *REGIONS}:
                raise ValueError(
                    f"skips must be some of {', '.join(LAYERS)}, each alone or with "
                    f"{', '.join(f'@{name}' for name in REGIONS)}. Received: {self.skips}"
                )
        if not self.targets:
            raise ValueError("targets must name at least one output. Received: none")

    @property
    def grid(self) -> int:
        """Positions of the last maps in each direction."""
        return self.side // STRIDE

    @property
    def tap_filters(self) -> int:
        """Channels of the taps side by side."""
        return sum(LAYERS[tap][0] for tap in self.taps)

    @property
    def skip_filters(self) -> int:
        """Channels of the skips side by side."""
        return sum(skip_filters(skip) for skip in self.skips)

    @property
    def pooled_features(self) -> int:
        """Averages that enter the dense block: those of block7, then those of the skips."""
        return self.block7_filters + self.skip_filters


def base_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of the base."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for name, filters in BASE:
        shapes[f"{name}.kernel"] = (3, 3, channels, filters)
        shapes[f"{name}.bias"] = (filters,)
        channels = filters
    return shapes


def member_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of one member's extension, without the member's prefix."""
    a = architecture
    return {
        "block6_conv1.kernel": (3, 3, a.tap_filters, a.block6_filters),
        "block6_conv1.bias": (a.block6_filters,),
        "block7_conv1.kernel": (3, 3, a.block6_filters, a.block7_filters),
        "block7_conv1.bias": (a.block7_filters,),
        "dense.kernel": (a.pooled_features, a.dense_units),
        "dense.bias": (a.dense_units,),
        "findings.kernel": (a.dense_units, len(a.targets)),
        "findings.bias": (len(a.targets),),
    }


def weight_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights; member m's are prefixed by "m." with its number."""
    shapes = base_shapes()
    for member in range(architecture.members):
        for name, shape in member_shapes(architecture).items():
            shapes[f"{member}.{name}"] = shape
    return shapes


def fold_grey(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The first convolution for one grey channel g in place of three with their means subtracted.

    The sum over c of W_c * (g - mean_c) is, for each tap of the kernel, (sum W_c) g minus
    (sum W_c mean_c). The subtrahend is no bias: at the border the taps outside of the image do not
    count, because the base pads with zero *after* the subtraction. As the kernel of a second
    channel, which is constant inside and padded with zero like the first, it is exact everywhere.

    Takes (3, 3, 3, filters), returns (3, 3, 2, filters) for the channels [g, 255].
    """
    wide = kernel.astype(np.float64)
    grey = wide.sum(axis=2)
    constant = -np.tensordot(CHANNEL_MEANS, wide, axes=(0, 2)) / FULL_SCALE
    return np.stack([grey, constant], axis=2).astype(np.float32)
