"""Whether an image is a frontal chest radiograph, by features of the network's own pass.

A density model of frontal chests alone: principal components of the averages of the frozen base's
layers, each layer's scaled to length 1, so that contrast counts less than shape (probabilistic PCA;
Tipping and Bishop, J. R. Statist. Soc. B 61, 1999). What lies far from all that it was fitted to is
no frontal chest. A linear discriminant beside it says whether the greys look inverted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from classifier.errors import BundleRefused
from classifier.network import Architecture, skip_filters

Floats = NDArray[np.float64]
Averages = NDArray[np.floating[Any]]

ARRAYS = ("mean", "spread", "axes", "variances", "rest", "inverted")
"""Of the file."""


@dataclass(frozen=True, slots=True)
class FrontalModel:
    """Frontal chests as a Gaussian in d features: k axes and what is left beside them.

    skips: whose averages are looked at, by the names of `Architecture.skips`.
    mean, spread: (d,) of the features; axes: (d, k), variances: (k,) along them.
    rest: mean square of what the axes leave.
    inverted: (d + 1,) weights and, last, the bias of the discriminant of inverted greys.
    """

    skips: tuple[str, ...]
    mean: Floats
    spread: Floats
    axes: Floats
    variances: Floats
    rest: float
    inverted: Floats

    def distance(self, architecture: Architecture, averages: Averages) -> Floats:
        """How far images (N, averages of the architecture) are from frontal chests, a logarithm."""
        features = self._standardised(architecture, averages)
        along = features @ self.axes
        beside = np.maximum((features**2).sum(axis=1) - (along**2).sum(axis=1), 0.0)
        return np.asarray(
            np.log((along**2 / self.variances).mean(axis=1) + beside / self.rest), dtype=np.float64
        )

    def looks_inverted(self, architecture: Architecture, averages: Averages) -> NDArray[np.bool_]:
        """Of images (N, averages of the architecture), whether white seems to be black."""
        features = self._standardised(architecture, averages)
        return np.asarray(features @ self.inverted[:-1] + self.inverted[-1] > 0)

    def _standardised(self, architecture: Architecture, averages: Averages) -> Floats:
        return (scaled(architecture, self.skips, averages) - self.mean) / self.spread


def scaled(architecture: Architecture, skips: tuple[str, ...], averages: Averages) -> Floats:
    """The averages of some skips, (N, d), those of each skip scaled to length 1."""
    ends = np.cumsum([skip_filters(skip) for skip in architecture.skips])
    parts = dict(zip(architecture.skips, np.split(averages, ends[:-1], axis=1), strict=True))
    chosen = [parts[skip].astype(np.float64) for skip in skips]
    return np.concatenate(
        [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9) for part in chosen],
        axis=1,
    )


def pack(model: FrontalModel) -> bytes:
    """safetensors in single precision."""
    arrays = {
        name: np.atleast_1d(np.asarray(getattr(model, name), dtype=np.float32)) for name in ARRAYS
    }
    return bytes(save_tensors({**arrays, "axes": arrays["axes"].astype(np.float16)}))


def unpack(data: bytes, architecture: Architecture, skips: tuple[str, ...]) -> FrontalModel:
    """Raises: BundleRefused: it is damaged, or not of this architecture."""
    if not skips or not set(skips) <= set(architecture.skips):
        raise BundleRefused("The model of frontal chests reads averages that the network lacks.")
    try:
        arrays = {name: array.astype(np.float64) for name, array in load_tensors(data).items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleRefused(
            f"The model of frontal chests cannot be read ({type(error).__name__})."
        ) from error
    features = sum(skip_filters(skip) for skip in skips)
    count = len(arrays.get("variances", ()))
    expected = {
        "mean": (features,),
        "spread": (features,),
        "axes": (features, count),
        "variances": (count,),
        "rest": (1,),
        "inverted": (features + 1,),
    }
    if {name: array.shape for name, array in arrays.items()} != expected or not count:
        raise BundleRefused("The model of frontal chests is not one of this network.")
    if not all(np.isfinite(array).all() for array in arrays.values()) or not all(
        (arrays[name] > 0).all() for name in ("spread", "variances", "rest")
    ):
        raise BundleRefused("The model of frontal chests holds impossible values.")
    return FrontalModel(
        skips=skips,
        mean=arrays["mean"],
        spread=arrays["spread"],
        axes=arrays["axes"],
        variances=arrays["variances"],
        rest=float(arrays["rest"][0]),
        inverted=arrays["inverted"],
    )
