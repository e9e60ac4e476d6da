"""Maps of a classification as the database keeps them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from storage.records import Attention, Result

if TYPE_CHECKING:
    from classifier.preprocessing import Placement

Field = NDArray[np.float32]


def pack(maps: NDArray[Any], placement: Placement) -> Attention:
    """`maps`: (findings, grid, grid), at least 0. Half precision is 11 bits, the picture has 8."""
    half = np.clip(maps, 0, np.finfo(np.float16).max).astype("<f2")
    return Attention(half.tobytes(), maps.shape[-1], **asdict(placement))


def unpack(result: Result) -> list[Field]:
    """One map (grid, grid) per finding; none where the result has none, or not as many."""
    kept = result.attention
    if kept is None or len(kept.maps) != 2 * len(result.findings) * kept.grid**2:
        return []
    maps = np.frombuffer(kept.maps, dtype="<f2").reshape(-1, kept.grid, kept.grid)
    return [np.nan_to_num(one.astype(np.float32), posinf=0.0).clip(0.0) for one in maps]
