"""The watch: control charts of every station, brought up to each new result, and their alarms.

The scheduler's process does this beside its schedules, with nothing but the language. What
an image is watched by was written with its result, so that nothing here touches a pixel.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from classifier.score import score
from daemon import logs
from daemon.alarms import Bell
from daemon.events import Event
from daemon.reviews_watch import ReviewsWatch
from storage.alarm_records import AlarmKind
from storage.alarms import Alarms
from storage.audit import Audit
from storage.database import Database
from storage.errors import NotFound, Refused
from storage.ledger import Ledger
from storage.people import Action
from storage.watching import StationRow, Watched, Watching
from training.charts import MIN_IMAGES, Charts, Left, Normal, normal_of
from training.stations import LEARN_AT, SCORE, Standing

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
        self._reviews.step(now)

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
        self._bell.still(AlarmKind.INPUT_DRIFT, image.station, image.at, because)
        for name in image.probabilities:
            about = subject(image.station, name)
            self._bell.still(AlarmKind.SCORE_DRIFT, about, image.at, because)

    def _reference(self, digest: str) -> Normal | None:
        if digest not in self._references:
            self._references[digest] = reference_in(self._ledger.find(digest).card)
        return self._references[digest]


def accept_station(database: Database, station: str, actor: str, at: float) -> int:
    """Take a station's images since its drift began for its reference; return how many.

    Raises NotFound where the serving bundle has not seen the station, Refused where there are too
    few images.
    """
    watching, bell, serving = Watching(database), Bell(database), Ledger(database).serving()
    row = None if serving is None else watching.station(serving.model.digest, station)
    if row is None:
        raise NotFound(f'No image of the station "{station[:64]}" was seen.')
    standing = to_standing(row)
    drift = Alarms(database).find(AlarmKind.INPUT_DRIFT, station)
    since = 0.0 if drift is None else drift.opened_at
    found = watching.images(row.digest, station, LEARN_AT[-1], since)
    if len(found) < MIN_IMAGES:
        raise Refused(
            f"A reference needs at least {MIN_IMAGES} images of the station since the alarm "
            f"opened. There are {len(found)}."
        )
    with database.write():
        accepted = standing.accepted(normal_of([measured(one) for one in found]))
        watching.keep(to_row(row, accepted, actor, at, at))
        Audit(database).append(
            actor, Action.STATION_ACCEPTED, station, {"images": len(found)}, at=at
        )
        because = f"{actor} took the station's images for its reference"
        bell.still(AlarmKind.INPUT_DRIFT, station, at, because)
        for name in found[-1].probabilities:
            bell.still(AlarmKind.SCORE_DRIFT, subject(station, name), at, because)
    return len(found)


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
