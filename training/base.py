"""The frozen base's weights: from the default bundle, or from a file of Keras."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from classifier.bundle import load_bundle
from classifier.network import BASE, Weights, base_shapes
from training.errors import WeightsRefused


def base_weights(path: Path | None = None) -> Weights:
    """VGG16's convolutions; without `path` those of the default bundle, so without a download.

    `path` is a file that `keras.applications.VGG16(include_top=False, weights=path)` reads.

    Raises:
        WeightsRefused: the file does not hold them.
        BundleRefused: the default bundle is damaged.
    """
    if path is None:
        weights = load_bundle().weights()
        return {name: weights[name] for name in base_shapes()}
    found = _read_keras(path)
    shapes = {name: array.shape for name, array in found.items()}
    if shapes != base_shapes() or not all(np.isfinite(a).all() for a in found.values()):
        raise WeightsRefused(f"{path} does not hold the weights of VGG16's base.")
    return found


def _read_keras(path: Path) -> Weights:
    import h5py  # type: ignore[import-untyped]

    weights = {}
    try:
        with h5py.File(path, "r") as file:
            for number, (name, _) in enumerate(BASE):
                layer = f"layers/conv2d_{number}/vars" if number else "layers/conv2d/vars"
                weights[f"{name}.kernel"] = np.array(file[f"{layer}/0"], dtype=np.float32)
                weights[f"{name}.bias"] = np.array(file[f"{layer}/1"], dtype=np.float32)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsRefused(
            f"{path} cannot be read as weights of VGG16's base ({type(error).__name__})."
        ) from error
    return weights
