"""Features of the images that a bundle was trained on, small enough to travel with it.

A retraining in a hospital learns from them beside the local cases, so that what was known is not
forgotten and nothing is downloaded. They are averages of the base's maps over a whole image or its
lungs, reduced to principal components: no image can be made of them, and those of the default
bundle are of published images. Local cases never enter them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from classifier.bundle import REPLAY, Bundle
from classifier.bundle import Replay as Stated
from classifier.errors import BundleRefused
from classifier.network import Architecture, Weights
from training.dataset import Indices, LabelledImages
from training.errors import ReplayMissing
from training.extension import Normalisation, normalisation
from training.features import FeatureCache

Floats = NDArray[np.float32]
Bits = NDArray[np.uint8]

COMPONENTS = 512
"""More add nothing: docs/decisions/0013-retraining.md."""

MIN_COMPONENTS = 64

MAX_BYTES = 3_000_000

CHUNK = 64


@dataclass(frozen=True, slots=True)
class Replay:
    """Training images as a retraining sees them.

    gain, shift: (features), what standardises the averages of the skips.
    basis: (features, components), and codes: (images, components), whose product is close to the
        standardised averages.
    blocks: (images, members, findings), the part of each member's logits that comes from block6
        and block7; the rest is the readout of the averages.
    targets: (images, findings) 0 or 1. folds: (images), the member that did not learn the image.
    kept: share of the averages' variance that the components hold.
    """

    gain: Floats
    shift: Floats
    basis: Floats
    codes: Floats
    blocks: Floats
    targets: Bits
    folds: NDArray[np.int64]
    kept: float

    @property
    def averages(self) -> Floats:
        """(images, features), standardised."""
        return self.codes @ self.basis.T

    @property
    def norm(self) -> Normalisation:
        """The same standardisation for local cases."""
        return Normalisation(np.ones(1, dtype=np.float32), self.gain, self.shift)


def compressed(
    architecture: Architecture,
    averages: NDArray[np.float16],
    blocks: Floats,
    targets: Bits,
    folds: NDArray[np.int64],
    components: int = COMPONENTS,
) -> Replay:
    """From averages of the skips (images, features) and the rest as `Replay` has it.

    Raises:
        ReplayMissing: so many images do not fit.
    """
    count = min(components, fitting(averages.shape, blocks[0].size))
    silent = np.ones((1, 1, 1, 1), dtype=np.float32)
    norm = normalisation(architecture, silent, averages)
    x = averages * norm.gain + norm.shift
    left, values, right = np.linalg.svd(x, full_matrices=False)
    count = min(count, len(values))
    kept = float((values[:count] ** 2).sum() / max(float((values**2).sum()), 1e-12))
    codes = left[:, :count] * values[:count]
    return Replay(norm.gain, norm.shift, right[:count].T, codes, blocks, targets, folds, kept)


def fitting(shape: tuple[int, ...], block_values: int) -> int:
    """Components that keep the file of (images, features) below its limit.

    block_values: logits of the blocks per image.

    Raises:
        ReplayMissing: there are too many images.
    """
    images, features = shape
    rest = MAX_BYTES - 20_000 - 8 * features - images * (2 * block_values + 32)
    if rest < MIN_COMPONENTS * (images + features):
        raise ReplayMissing(
            f"A replay of {images} images does not fit into {MAX_BYTES:,} bytes; the bundle could "
            "not be retrained without its first images."
        )
    return rest // (images + features)


def pack(replay: Replay) -> bytes:
    """safetensors; components and codes in 8 bits, each component with its own step."""
    basis, basis_step = _rounded(replay.basis)
    codes, codes_step = _rounded(replay.codes)
    arrays = {
        "basis": basis,
        "codes": codes,
        "step": basis_step * codes_step,
        "gain": replay.gain,
        "shift": replay.shift,
        "blocks": replay.blocks.astype(np.float16),
        "targets": replay.targets,
        "folds": replay.folds.astype(np.uint8),
    }
    return bytes(save_tensors({name: np.ascontiguousarray(a) for name, a in arrays.items()}))


def _rounded(columns: Floats) -> tuple[NDArray[np.int8], Floats]:
    step = np.maximum(np.abs(columns).max(axis=0), 1e-9) / 127
    return np.rint(columns / step).astype(np.int8), step.astype(np.float32)


def read_replay(bundle: Bundle) -> Replay:
    """The bundle's replay.

    Raises:
        ReplayMissing: it has none.
        BundleRefused: it is damaged, or not of this network.
    """
    stated = bundle.manifest.replay
    if stated is None:
        raise ReplayMissing(
            f"{bundle.version} holds no {REPLAY}, so that a retraining would forget what it knows. "
            "Make a bundle that does with: hilum replay --bundle BUNDLE --data DIR --out NEW, DIR "
            "being the images that it was trained on."
        )
    return unpack(bundle.read(stated.file), bundle.manifest.architecture, stated)


def unpack(data: bytes, architecture: Architecture, stated: Stated) -> Replay:
    """Raises: BundleRefused: it is damaged, or not of this architecture."""
    try:
        arrays = load_tensors(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleRefused(f"{REPLAY} cannot be read ({type(error).__name__}).") from error
    features, findings = architecture.skip_filters, len(architecture.targets)
    expected = {
        "gain": (features,),
        "shift": (features,),
        "basis": (features, stated.components),
        "codes": (stated.images, stated.components),
        "step": (stated.components,),
        "blocks": (stated.images, architecture.members, findings),
        "targets": (stated.images, findings),
        "folds": (stated.images,),
    }
    if {name: array.shape for name, array in arrays.items()} != expected:
        raise BundleRefused(f"{REPLAY} is not of this network.")
    if not all(np.isfinite(array).all() for array in arrays.values()) or not (
        (arrays["gain"] > 0).all()
        and arrays["targets"].max(initial=0) <= 1
        and arrays["folds"].max(initial=0) < max(2, architecture.members)
    ):
        raise BundleRefused(f"{REPLAY} holds impossible values.")
    return Replay(
        gain=arrays["gain"].astype(np.float32),
        shift=arrays["shift"].astype(np.float32),
        basis=arrays["basis"].astype(np.float32),
        codes=arrays["codes"] * arrays["step"].astype(np.float32),
        blocks=arrays["blocks"].astype(np.float32),
        targets=arrays["targets"].astype(np.uint8),
        folds=arrays["folds"].astype(np.int64),
        kept=stated.kept,
    )


def replay_of(
    architecture: Architecture,
    weights: Weights,
    data: LabelledImages,
    cache: FeatureCache,
    targets: Bits,
    folds: list[tuple[Indices, Indices]],
) -> Replay:
    """Of the images that the weights were trained on, whose features the cache holds.

    targets: (images, findings). folds: as `patient_folds` gave them to the training.
    """
    rows = cache.find(data.cases, 0)
    member = np.zeros(len(rows), dtype=np.int64)
    for number, (_, smaller) in enumerate(folds):
        member[smaller] = number
    averages = cache.averages().take(rows)[:, : architecture.skip_filters]
    return compressed(
        architecture, averages, block_logits(architecture, weights, cache, rows), targets, member
    )


def block_logits(
    a: Architecture, weights: Weights, cache: FeatureCache, rows: NDArray[np.int64]
) -> Floats:
    """(rows, members, findings): what block6 and block7 add to each member's logits."""
    import tensorflow as tf

    maps, parts = cache.maps(), []
    for chunk in np.array_split(rows, max(1, -(-len(rows) // CHUNK))):
        taps = maps.take(chunk).astype(np.float32).reshape(-1, a.grid, a.grid, a.tap_filters)
        members = []
        for number in range(a.members):
            w = {
                name.partition(".")[2]: array
                for name, array in weights.items()
                if name.startswith(f"{number}.")
            }
            x = taps
            for block in ("block6_conv1", "block7_conv1"):
                x = tf.nn.conv2d(x, w[f"{block}.kernel"], 1, "SAME") + w[f"{block}.bias"]
                x = tf.nn.relu(x)
            pooled = np.asarray(x).mean(axis=(1, 2))
            units = dense_units(a)
            hidden = pooled @ w["dense.kernel"][: a.block7_filters, :units]
            hidden = np.maximum(hidden + w["dense.bias"][:units], 0)
            members.append(hidden @ w["findings.kernel"][:units] + w["findings.bias"])
        parts.append(np.stack(members, axis=1))
    return np.concatenate(parts).astype(np.float32)


def dense_units(a: Architecture) -> int:
    """Units of the dense block that are not of the readout of the averages."""
    return a.dense_units - 2 * len(a.targets)


def stated(replay: Replay, origin: str) -> Stated:
    """The manifest's entry."""
    images, components = replay.codes.shape
    kept = round(min(replay.kept, 1.0), 4)
    return Stated(REPLAY, images=images, components=components, kept=kept, origin=origin)
