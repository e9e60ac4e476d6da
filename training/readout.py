"""The readout of the averages within a member's dense block, which a retraining goes on with.

A trained readout u of the averages stands in the dense block as the two units relu(u) and
relu(-u) for each finding (`training.extension.folded`); here it is taken out and put back.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classifier.network import Architecture, Weights
from training.errors import ReadoutMissing
from training.extension import Linear, Normalisation
from training.replay import dense_units

Floats = NDArray[np.float32]


def readout(a: Architecture, weights: Weights, member: int, norm: Normalisation) -> Linear:
    """Kernel (features, findings) and bias (findings) of a member, on standardised averages.

    Raises:
        ReadoutMissing: the dense block does not hold one.
    """
    findings, units = len(a.targets), dense_units(a)
    if not a.skips or units < 1:
        raise ReadoutMissing
    out = weights[f"{member}.findings.kernel"][units:]
    eye = np.eye(findings, dtype=np.float32)
    wide = weights[f"{member}.dense.kernel"]
    unit, bias = wide[a.block7_filters :, units:], weights[f"{member}.dense.bias"][units:]
    mirrored = (
        np.array_equal(out, np.concatenate([eye, -eye]))
        and np.array_equal(unit[:, :findings], -unit[:, findings:])
        and not wide[: a.block7_filters, units:].any()
        and not wide[a.block7_filters :, :units].any()
    )
    if not mirrored:
        raise ReadoutMissing
    kernel = unit[:, :findings] / norm.gain[:, np.newaxis]
    return kernel, bias[:findings] - norm.shift @ kernel


def with_readout(
    a: Architecture, weights: Weights, member: int, norm: Normalisation, linear: Linear
) -> dict[str, Floats]:
    """The member's dense kernel and bias with another readout, by their names in a bundle."""
    units, (kernel, bias) = dense_units(a), linear
    names = f"{member}.dense.kernel", f"{member}.dense.bias"
    wide, offset = (weights[name].copy() for name in names)
    unit = np.concatenate([kernel, -kernel], axis=1) * norm.gain[:, np.newaxis]
    wide[a.block7_filters :, units:] = unit.astype(np.float16)  # as the bundle will hold it
    start = bias + norm.shift @ kernel
    offset[units:] = np.concatenate([start, -start])
    return dict(zip(names, (wide, offset), strict=True))
