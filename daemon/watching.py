"""The watch: control charts of every station, brought up to each new result, and their alarms.

The scheduler's process does this beside its schedules, with nothing but the language. What
an image is watched by was written with its result, so that nothing here touches a pixel.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from classifier.score import score
from daemon import logs
from daemon.alarms import Bell
from daemon.events import Event
from daemon.reviews_watch import ReviewsWatch
from storage.alarm_records import AlarmKind
from storage.database import Database
from storage.ledger import Ledger
from storage.watching import MIN_IMAGES, StationRow, Watched, Watching
from training.charts import Charts, Left, Normal, normal_of
from training.stations import SCORE, Standing

BATCH = 200  # images in one transaction: some 50 ms
LEARNT = "its own images"


class Watch:
    """Follows the results. One at a time does, over all processes: it holds the cursor's row."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        """Work on a migrated database."""
        self._database = database
        self._watching, self._ledger = Watching(database), Ledger(database)
        self._reviews = ReviewsWatch(database)
        self._bell = Bell(database)
        self._clock = clock
        self._references: dict[str, Normal | None] = {}

    def step(self) -> None:
        """Bring the charts up to the newest result, then what reviews say. Raises StorageError."""
        now = self._clock()
        while self._watching.is_behind():
            with self._database.write():
                for image in self._watching.next(BATCH, now):
                    self._see(image)
        for row in self._watching.to_accept():
            with self._database.write():
                self._accept(row, now)
        self._reviews.step(now)

    def _accept(self, row: StationRow, now: float) -> None:
        """Take a station's images since its drift began for its reference: a person asked so."""
        found = self._watching.since_drift(row.digest, row.station)
        own = normal_of([measured(one) for one in found])
        standing = to_standing(row).accepted(own)
        kept = to_row(row, standing, row.accepted_by, now, now)
        self._watching.keep(replace(kept, accepted_by=None))
        because = f"{row.accepted_by} took the station's images for its reference"
        self._close(row.station, found[-1].probabilities, now, because)
        told = {"station": row.station, "images": len(found), "by": row.accepted_by}
        logs.get().info(Event.STATION_LEARNT, **told)

    def _see(self, image: Watched) -> None:
        row = self._watching.station(image.digest, image.station)
        if row is None:
            row = self._first(image)
        bundle = self._reference(image.digest)
        standing, left = to_standing(row).seen(bundle, measured(image))
        if left:
            self._raise(image, standing, left, row)
        by, at = row.reference_by, row.reference_at
        if standing.is_over:
            self._settle(image, standing)
            standing = standing.over()
        if count := standing.to_learn:
            found = self._watching.images(image.digest, image.station, count)
            if len(found) >= MIN_IMAGES:
                standing = standing.learnt(normal_of([measured(one) for one in found]))
                by, at = LEARNT, image.at
                told = {"station": image.station, "images": len(found)}
                logs.get().info(Event.STATION_LEARNT, **told)
        self._watching.keep(to_row(row, standing, by, at, self._clock()))

    def _first(self, image: Watched) -> StationRow:
        """A station that this bundle has not seen: what its images are like is known of before."""
        before = self._watching.before(image.digest, image.station)
        own, by, at = None, None, None
        if before is not None and before.reference is not None:
            known = _normal(before.reference)
            kept = [name for name in known.quantiles if not _of_bundle(name)]
            own, by, at = known.only(kept), before.reference_by, before.reference_at
        empty = StationRow(image.digest, image.station, 0, 0, {}, {}, None, None, None, image.at)
        return to_row(empty, Standing(own=own), by, at, image.at)

    def _raise(
        self, image: Watched, standing: Standing, left: tuple[Left, ...], row: StationRow
    ) -> None:
        held = "the bundle's reference" if standing.own is None else (
            f"{standing.own.images} images of its own, by {row.reference_by}"
        )  # fmt: skip
        common = {"against": held, "digest": image.digest}
        if any(not one.measure.startswith(SCORE) for one in left):
            told = {name: one for name, one in standing.left.items() if not name.startswith(SCORE)}
            self._bell.ring(
                AlarmKind.INPUT_DRIFT, image.station, {"measures": told, **common}, image.at,
                station=image.station,
            )  # fmt: skip
        for one in left:
            if one.measure.startswith(SCORE):
                name = one.measure.removeprefix(SCORE)
                self._bell.ring(
                    AlarmKind.SCORE_DRIFT, subject(image.station, name),
                    {**standing.left[one.measure], **common}, image.at,
                    station=image.station, finding=name,
                )  # fmt: skip

    def _settle(self, image: Watched, standing: Standing) -> None:
        """Close the station's alarms: its images have been within the limits for a while."""
        because = f"the last {standing.quiet} images were within the limits"
        self._close(image.station, image.probabilities, image.at, because)

    def _close(self, station: str, findings: Iterable[str], at: float, because: str) -> None:
        self._bell.still(AlarmKind.INPUT_DRIFT, station, at, because)
        for name in findings:
            self._bell.still(AlarmKind.SCORE_DRIFT, subject(station, name), at, because)

    def _reference(self, digest: str) -> Normal | None:
        if digest not in self._references:
            self._references[digest] = reference_in(self._ledger.find(digest).card)
        return self._references[digest]


def measured(image: Watched) -> dict[str, float]:
    """Return all that is watched of an image."""
    if image.refused:
        return {"refused": 1.0}
    scores = {f"{SCORE}{name}": score(p) for name, p in image.probabilities.items()}
    view = float(image.view.strip().upper() == "AP")
    return {**image.measures, **scores, "ap": view, "refused": 0.0}


def subject(station: str, finding: str) -> str:
    """Return what an alarm of a finding at a station is about."""
    return f"{station}: {finding}"


def reference_in(card: str) -> Normal | None:
    """Return the reference in a bundle's manifest, None where it has none."""
    stated = json.loads(card).get("reference")
    return None if stated is None else Normal(stated["images"], stated["measures"])


def to_standing(row: StationRow) -> Standing:
    """Read how a station stands."""
    charts = Charts.from_json(row.charts) if row.charts else Charts()
    own = None if row.reference is None else _normal(row.reference)
    return Standing(row.images, row.quiet, charts, row.left, own)


def to_row(
    row: StationRow, standing: Standing, by: str | None, at: float | None, now: float
) -> StationRow:
    """Return the row of how a station stands now."""
    own = standing.own
    reference: dict[str, Any] | None = None
    if own is not None:
        reference = {"images": own.images, "quantiles": dict(own.quantiles)}
    return StationRow(
        row.digest, row.station, standing.images, standing.quiet, standing.charts.as_json(),
        standing.left, reference, by, at, now,
    )  # fmt: skip


def _normal(told: Any) -> Normal:
    return Normal(int(told["images"]), told["quantiles"])


def _of_bundle(name: str) -> bool:
    """Whether a measure is another one under another bundle."""
    return name.startswith(SCORE) or name in ("distance", "refused")
