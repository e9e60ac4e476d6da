"""A run that audits the drift: images, scores and reviews of every station, with its charts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from daemon.alarm_text import MEASURES
from daemon.run import Outcome, Task
from daemon.watched import overview
from daemon.watching import measured, reference_in, to_standing
from storage.alarms import Alarms
from storage.errors import Refused
from storage.ledger import Ledger
from storage.watching import NEWEST, StationRow, Watching
from training.drift import courses, shifts
from training.drift_picture import picture
from training.errors import ResultsNotWritten

MIN_IMAGES = 20
"""Of a station; with fewer there is nothing to see yet."""

PICTURES = 20
"""Stations that are drawn: those with the most images."""


def perform(task: Task) -> Outcome:
    """Audit what the serving bundle has judged, and leave pictures in the run's folder.

    Raises Refused where nothing was watched yet, and ResultsNotWritten.
    """
    serving = Ledger(task.database).serving()
    if serving is None:
        raise Refused("No bundle serves yet: start the service once.")
    rows = Watching(task.database).stations(serving.model.digest)
    rows = tuple(sorted(rows, key=lambda row: -row.images))
    if not any(row.images >= MIN_IMAGES for row in rows):
        raise Refused(
            f"No station has sent {MIN_IMAGES} images since {serving.model.version} serves."
        )
    stations = []
    for number, row in enumerate(rows):
        task.progress("stations", number, len(rows))
        stations.append(_audit(task, serving.model.card, row, number))
    task.progress("stations", len(rows), len(rows))
    found = overview(task.database)
    return Outcome(
        {
            "bundle": serving.model.version,
            "stations": stations,
            "findings": found["findings"],
            "alarms": len(Alarms(task.database).open()),
            "pictures": [one["picture"] for one in stations if one["picture"]],
        }
    )


def _audit(task: Task, card: str, row: StationRow, number: int) -> dict[str, Any]:
    """Audit one station; a picture where it has images enough."""
    found = Watching(task.database).images(row.digest, row.station, NEWEST)
    images = [measured(one) for one in found]
    told: dict[str, Any] = {
        "station": row.station, "images": len(images), "drifted": dict(row.left),
        "against": "the bundle" if row.reference is None else f"{row.reference['images']} images",
        "shifts": [], "picture": None,
    }  # fmt: skip
    normal = to_standing(row).against(reference_in(card))
    if normal is None or len(images) < MIN_IMAGES:
        return told
    measures = shifts(normal, images)
    told["shifts"] = [asdict(one) for one in measures]
    if number < PICTURES:
        name, (charts, limits) = f"station-{number + 1}.png", courses(normal, images)
        title = f"{row.station}: the newest {len(images)} images, against {told['against']}"
        try:
            (task.folder / name).write_bytes(picture(title, measures, charts, limits, MEASURES))
        except OSError as error:
            raise ResultsNotWritten(f"{name} cannot be written: {error.strerror}.") from error
        told["picture"] = name
    return told
