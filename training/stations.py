"""How a station stands: its charts, what left them, and what its images are held against.

A station begins with the reference of the bundle. Images that no chart has complained of become
its own reference, and a better one when there are more; where a chart has, a person has to say
that the images are as they should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from training.charts import MIN_IMAGES, Charts, Left, Normal, limits_for

LEARN_AT = (MIN_IMAGES, 500, 1000)
"""Images in a row that no chart complained of, of which a station's own reference is made."""

QUIET = 200
"""Images in a row within the limits after which a drift is over."""

SCORE = "score_"
"""Begins the name of a measure that is a finding's log odds, and no measure of the image."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A station under one bundle.

    images: seen; quiet: since a chart last left its limits. left: the measures that did since the
    drift began, as JSON. own: its own reference; measures that it lacks are held against the
    bundle's.
    """

    images: int = 0
    quiet: int = 0
    charts: Charts = field(default_factory=Charts)
    left: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    own: Normal | None = None

    def against(self, bundle: Normal | None) -> Normal | None:
        """Return what the images are held against, None where nothing is known yet."""
        if self.own is None or bundle is None:
            return self.own or bundle
        images = min(self.own.images, bundle.images)
        return Normal(images, {**bundle.quantiles, **self.own.quantiles})

    def seen(
        self, bundle: Normal | None, image: Mapping[str, float]
    ) -> tuple[Standing, tuple[Left, ...]]:
        """Return how it stands after one more image, and what left its limits with it."""
        normal = self.against(bundle)
        charts, found = self.charts, tuple[Left, ...]()
        if normal is not None:
            limits = limits_for(normal.images, len(normal.quantiles))
            charts, found = charts.seen(normal, image, limits)
        told = {
            one.measure: {
                "direction": one.direction, "shift": round(one.shift, 2), "since": one.since,
            }
            for one in found
        }  # fmt: skip
        return replace(
            self, images=self.images + 1, quiet=0 if found else self.quiet + 1, charts=charts,
            left={**self.left, **told},
        ), found  # fmt: skip

    @property
    def is_over(self) -> bool:
        """Whether a drift, if there was one, is over with this image."""
        return self.quiet == QUIET

    @property
    def to_learn(self) -> int:
        """Return of how many newest images its own reference is to be made now; 0: of none."""
        return self.quiet if self.quiet in LEARN_AT and not self.left else 0

    def over(self) -> Standing:
        """Return it without what left its limits."""
        return replace(self, left={})

    def learnt(self, own: Normal) -> Standing:
        """Return it with its own reference; the charts begin anew."""
        return replace(self, own=own, charts=Charts())

    def accepted(self, own: Normal) -> Standing:
        """Return it with a reference by a person's word: what left its limits is forgotten."""
        return replace(self, own=own, charts=Charts(), left={}, quiet=0)
