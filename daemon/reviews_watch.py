"""What reviews say of the serving bundle: figures of each finding and station, and their alarms.

A finding whose probabilities do not hold comes into doubt, and the workers follow. The test is
made on the newest reviews of the finding, each time so many more have come: asked at every review,
chance alone would answer yes in the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from daemon import logs
from daemon.alarms import Bell
from daemon.events import Event
from storage.agreed import Agreed, Said
from storage.alarm_records import AlarmKind
from storage.bundles import ServingModel
from storage.database import Database
from storage.doubts import DoubtLine, Doubts
from storage.ledger import Ledger
from storage.watching import Watching
from training.reviewed import (
    MIN_COMPARED,
    MIN_REVIEWS,
    CalibrationCheck,
    calibration_check,
    rates,
    share_check,
)

LOOK_EVERY_S = 5.0
NEWEST = 200
"""Reviews of a finding that its calibration is judged by."""

EVERY = 50
"""Reviews of a finding after which it is judged again; first after `MIN_REVIEWS`."""

BEFORE = 500
"""Reviews of a finding at a station, before the newest, that their share is held against."""


class ReviewsWatch:
    """Follows the labels of the bundle that serves."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._watching, self._ledger = Watching(database), Ledger(database)
        self._doubts, self._bell = Doubts(database), Bell(database)
        self._database, self._agreed = database, Agreed(database)
        self._looked_at = 0.0
        self._known: tuple[object, ...] = ()

    def step(self, now: float) -> None:
        """Look at the reviews, where any came since the last look."""
        if abs(now - self._looked_at) < LOOK_EVERY_S:
            return
        self._looked_at = now
        changed = (*self._agreed.changed(), self._ledger.revision())
        if changed == self._known:
            return
        serving = self._ledger.serving()
        if serving is not None:
            with self._database.write():
                self._look(serving, now)
        self._known = changed

    def _look(self, serving: ServingModel, now: float) -> None:
        digest, version = serving.model.digest, serving.model.version
        before = self._watching.note("reviews") or {}
        judged: dict[str, int] = before.get("judged", {}) if before.get("digest") == digest else {}
        if before.get("digest") not in (None, digest):
            self._begin_anew(before, now)
        by_finding: dict[str, list[Said]] = defaultdict(list)
        for one in self._agreed.said(version):
            by_finding[one.finding].append(one)
        lines = {one.finding: one for one in reversed(self._doubts.lines(digest))}
        told: dict[str, Any] = {}
        for name, said in sorted(by_finding.items()):
            self._judge(serving, name, said, lines.get(name), judged, now)
            by_station: dict[str, list[Said]] = defaultdict(list)
            for one in said:
                by_station[one.station].append(one)
            for station, some in by_station.items():
                self._compare(station, name, some, judged, now)
            told[name] = {
                "all": figures(said),
                "stations": {station: figures(some) for station, some in by_station.items()},
            }
        note = {"digest": digest, "version": version, "findings": told, "judged": judged}
        self._watching.put("reviews", note, now)

    def _judge(
        self,
        serving: ServingModel,
        name: str,
        said: Sequence[Said],
        line: DoubtLine | None,
        judged: dict[str, int],
        now: float,
    ) -> None:
        """Judge a finding's calibration where it is time, and note after how many reviews."""
        if line is not None and line.doubted:
            return
        key = name
        if line is not None:  # a person has lifted a doubt: what was known then is settled
            key = f"{name} since {line.at:.0f}"
            said = [one for one in said if one.at > line.at]
        last = judged.get(key, 0)
        if len(said) < (last + EVERY if last else MIN_REVIEWS):
            return
        judged[key] = len(said)
        found, about = check(said), f"{serving.model.version}: {name}"
        if not found.broken:
            self._bell.still(AlarmKind.CALIBRATION, about, now, "its probabilities hold again")
            return
        shown = {**asdict(found), "digest": serving.model.digest, "version": serving.model.version}
        self._bell.ring(AlarmKind.CALIBRATION, about, shown, now, finding=name)
        if self._doubts.doubt(serving.model.digest, name, reason(found), now):
            logs.get().warning(Event.FINDING_DOUBTED, finding=name, reviews=found.reviews)

    def _compare(
        self, station: str, name: str, said: Sequence[Said], judged: dict[str, int], now: float
    ) -> None:
        """Compare what readers see of a finding at a station with what they saw before."""
        key, about = f"{name} at {station}", f"{station}: {name}"
        if len(said) < judged.get(key, 0) + EVERY:
            return
        judged[key] = len(said)
        values = [int(one.present) for one in said]
        newest, older = values[-MIN_COMPARED:], values[:-MIN_COMPARED][-BEFORE:]
        found = share_check(older, newest)
        if found is not None and found.drifted:
            self._bell.ring(
                AlarmKind.LABEL_DRIFT, about, asdict(found), now, station=station, finding=name
            )
        elif found is not None:
            because = "readers see it as often as before"
            self._bell.still(AlarmKind.LABEL_DRIFT, about, now, because)

    def _begin_anew(self, before: dict[str, Any], now: float) -> None:
        """Another bundle serves: what was in doubt of the one before is in doubt no more."""
        for name in before.get("findings", {}):
            about = f"{before['version']}: {name}"
            self._bell.still(AlarmKind.CALIBRATION, about, now, "another bundle serves")


def check(said: Sequence[Said]) -> CalibrationCheck:
    """Judge a finding's probabilities by its newest reviews."""
    newest = said[-NEWEST:]
    return calibration_check(
        [one.probability for one in newest], [int(one.present) for one in newest]
    )


def reason(found: CalibrationCheck) -> str:
    """Say why a finding is in doubt."""
    return (
        f"Of {found.reviews} reviews {found.observed.value:.0%} show it, where "
        f"{found.expected:.0%} were expected (p {found.p:.1g})."
    )


def figures(said: Sequence[Said]) -> dict[str, Any]:
    """Return the figures of a finding as JSON: rates with intervals, expected and observed."""
    decisions = [int(one.probability >= one.threshold) for one in said]
    truth = [int(one.present) for one in said]
    return {
        "positives": sum(truth), "flagged": sum(decisions),
        **asdict(rates(decisions, truth)), **asdict(check(said)), "reviews": len(said),
    }  # fmt: skip
