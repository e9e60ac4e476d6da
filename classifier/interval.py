"""A figure with its interval, apart from `classifier.bundle` for those who need no bundle."""

from __future__ import annotations

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Interval:
    """A figure with the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float
