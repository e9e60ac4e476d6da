"""How far pairs of readers agree, as the page and the API show it."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.findings import CATALOGUE
from daemon.kappa import Kappa, cohen_kappa
from daemon.web.context import Site
from storage.review_records import DoubleRead, ReviewKind
from storage.reviews import Reviews


@dataclass(frozen=True, slots=True)
class Pair:
    """What two readers said of one finding; no kappa where both have said one and the same."""

    read: DoubleRead
    kappa: Kappa | None

    @property
    def meaning(self) -> str:
        """The finding as people say it."""
        known = CATALOGUE.get(self.read.finding)
        return known.code_meaning if known else self.read.finding.replace("_", " ").capitalize()

    @property
    def same(self) -> float:
        """The share of images of which both said the same."""
        return (self.read.both_present + self.read.both_absent) / self.read.images


def pairs(here: Site, since: float, until: float, kind: ReviewKind | None) -> list[Pair]:
    """Return every pair of readers who both judged a finding in that time, by finding."""
    found = Reviews(here.database).agreement(since, until, kind)
    return [
        Pair(one, cohen_kappa(one.both_present, one.first_only, one.second_only, one.both_absent))
        for one in found
    ]
