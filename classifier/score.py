"""The log odds of a probability."""

from __future__ import annotations

from math import log


def score(probability: float) -> float:
    """Return the log odds of a probability, cut at one in a million."""
    clipped = min(max(probability, 1e-6), 1 - 1e-6)
    return log(clipped / (1 - clipped))
