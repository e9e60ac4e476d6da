"""What is watched: images with their measures, and how stations stand.

No patient data is read here. A station is what the header calls it, else the sender's AE title.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select, update

from storage.alarm_records import AlarmKind
from storage.alarms import Alarms
from storage.audit import Audit
from storage.database import Database, insert_or
from storage.errors import NotFound, Refused
from storage.ledger_rows import last_line
from storage.people import Action
from storage.records import ResultStatus
from storage.results import AnyRow
from storage.schema import (
    finding,
    image_header,
    instance,
    model,
    result,
    station_watch,
    study_header,
    watch_note,
)

NOT_FRONTAL = "not_frontal_chest"
"""The reason of an image that its pixels refuse."""

MIN_IMAGES = 200
"""Of a station's reference; with fewer its own error would be taken for drift."""

NEWEST = 1000
"""Images that a station's reference is made of, at most."""


@dataclass(frozen=True, slots=True)
class Watched:
    """An image that was answered: what is watched of it, and the probability of each finding."""

    result_id: int
    digest: str  # of the bundle that judged it, or that serves now
    station: str
    measures: Mapping[str, float]
    view: str
    probabilities: Mapping[str, float]
    refused: bool  # by its pixels
    at: float


@dataclass(frozen=True, slots=True)
class StationRow:
    """How a station stands under a bundle; the JSON is that of `training.stations`."""

    digest: str
    station: str
    images: int
    quiet: int
    charts: Mapping[str, Any]
    left: Mapping[str, Mapping[str, Any]]
    reference: Mapping[str, Any] | None
    reference_by: str | None
    reference_at: float | None
    updated_at: float
    accepted_by: str | None = None


class Watching:
    """What the watch reads and keeps. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    # -- images ------------------------------------------------------------------------------

    def is_behind(self) -> bool:
        """Return whether an image was answered that the watch has not seen."""
        newest = select(func.max(result.c.id))
        with self._database.read() as connection:
            return (connection.execute(newest).scalar_one() or 0) > self._seen_until(connection)

    def next(self, limit: int, at: float) -> tuple[Watched, ...]:
        """Return what came next, and take it as seen, within the caller's transaction."""
        with self._database.write() as connection:
            since = self._seen_until(connection, lock=True)
            serving = last_line(connection)
            rows = connection.execute(
                _images().where(result.c.id > since).order_by(result.c.id).limit(limit)
            ).all()
            if not rows:
                return ()
            self.put("images", {"result": rows[-1].id}, at)
            found = _watched(connection, rows, None if serving is None else serving.digest)
        return tuple(found)

    def images(
        self, digest: str, station: str, limit: int, since: float = 0.0
    ) -> tuple[Watched, ...]:
        """Return the newest images of a station under a bundle, the oldest of them first."""
        query = _images().where(
            model.c.digest == digest, station_name == station, result.c.created_at >= since
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(result.c.id.desc()).limit(limit)).all()
            return tuple(_watched(connection, rows[::-1], digest))

    def _seen_until(self, connection: Connection, *, lock: bool = False) -> int:
        query = select(watch_note.c.value).where(watch_note.c.name == "images")
        found = connection.execute(query.with_for_update() if lock else query).scalar_one_or_none()
        return 0 if found is None else int(json.loads(found)["result"])

    # -- stations ----------------------------------------------------------------------------

    def stations(self, digest: str) -> tuple[StationRow, ...]:
        """Return every station under a bundle, by name."""
        query = select(station_watch).where(station_watch.c.digest == digest)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(station_watch.c.station))
            return tuple(map(_station, found))

    def station(self, digest: str, station: str) -> StationRow | None:
        """Return how a station stands under a bundle, None where it was not seen."""
        query = select(station_watch).where(station_watch.c.digest == digest)
        with self._database.read() as connection:
            row = connection.execute(query.where(station_watch.c.station == station)).first()
        return None if row is None else _station(row)

    def before(self, digest: str, station: str) -> StationRow | None:
        """Return how it stood under the bundle before, None where there was none."""
        query = select(station_watch).where(
            station_watch.c.station == station, station_watch.c.digest != digest
        )
        newest = query.order_by(station_watch.c.updated_at.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(newest).first()
        return None if row is None else _station(row)

    def keep(self, row: StationRow) -> None:
        """Keep how a station stands."""
        values = {
            "images": row.images, "quiet": row.quiet, "charts": json.dumps(row.charts),
            "left": json.dumps(row.left),
            "reference": None if row.reference is None else json.dumps(row.reference),
            "reference_by": row.reference_by, "reference_at": row.reference_at,
            "updated_at": row.updated_at, "accepted_by": row.accepted_by,
        }  # fmt: skip
        with self._database.write() as connection:
            new = insert_or(connection, station_watch).values(
                digest=row.digest, station=row.station, **values
            )
            connection.execute(
                new.on_conflict_do_update(index_elements=["digest", "station"], set_=values)
            )

    def ask_acceptance(self, digest: str, station: str, actor: str, at: float) -> int:
        """Ask that a station's images since its drift began become its reference.

        Return how many there are; the watch does it at its next look. Raises NotFound, and Refused
        where there are too few.
        """
        with self._database.write() as connection:
            if self.station(digest, station) is None:
                raise NotFound(f'No image of the station "{station[:64]}" was seen.')
            count = len(self.since_drift(digest, station))
            if count < MIN_IMAGES:
                raise Refused(
                    f"A reference needs at least {MIN_IMAGES} images of the station since its alarm"
                    f" opened. There are {count}."
                )
            asked = update(station_watch).values(accepted_by=actor)
            connection.execute(
                asked.where(station_watch.c.digest == digest, station_watch.c.station == station)
            )
            self._audit.append(actor, Action.STATION_ACCEPTED, station, {"images": count}, at=at)
        return count

    def to_accept(self) -> tuple[StationRow, ...]:
        """Return the stations whose images are to become their reference."""
        query = select(station_watch).where(station_watch.c.accepted_by.is_not(None))
        with self._database.read() as connection:
            return tuple(map(_station, connection.execute(query)))

    def since_drift(self, digest: str, station: str) -> tuple[Watched, ...]:
        """Return a station's images since the alarm of its drift opened, at most `NEWEST`."""
        drift = Alarms(self._database).find(AlarmKind.INPUT_DRIFT, station)
        since = 0.0 if drift is None else drift.opened_at
        return self.images(digest, station, NEWEST, since)

    # -- notes  ------------------------------------------------------------------

    def note(self, name: str) -> dict[str, Any] | None:
        """Return a note of the watch."""
        query = select(watch_note.c.value).where(watch_note.c.name == name)
        with self._database.read() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else dict(json.loads(found))

    def put(self, name: str, value: Mapping[str, Any], at: float) -> None:
        """Keep a note in place of the one before."""
        values = {"value": json.dumps(dict(value)), "at": at}
        with self._database.write() as connection:
            new = insert_or(connection, watch_note).values(name=name, **values)
            connection.execute(new.on_conflict_do_update(index_elements=["name"], set_=values))


station_name: ColumnElement[str] = func.coalesce(
    func.nullif(study_header.c.station, ""), instance.c.calling_ae
)


def _images() -> Select[Any]:
    return (
        select(
            result.c.id, result.c.status, result.c.reason_code, result.c.measures,
            result.c.created_at, model.c.digest, station_name.label("station"),
            func.coalesce(image_header.c.view_position, "").label("view"),
            study_header.c.study_id.label("listed"),
        )
        .join(instance, result.c.instance_id == instance.c.id)
        .outerjoin(model, model.c.version == result.c.bundle)
        .outerjoin(study_header, study_header.c.study_id == instance.c.study_id)
        .outerjoin(image_header, image_header.c.instance_id == instance.c.id)
    )  # fmt: skip


def _watched(connection: Connection, rows: Sequence[AnyRow], serving: str | None) -> list[Watched]:
    """Leave out what tells nothing: no measures, and not refused by its pixels; or a canary."""
    answers: dict[int, dict[str, float]] = {row.id: {} for row in rows}
    if rows:
        query = select(finding.c.result_id, finding.c.name, finding.c.probability)
        for one in connection.execute(query.where(finding.c.result_id.in_(list(answers)))):
            answers[one.result_id][one.name] = one.probability
    found = []
    for row in rows:
        refused = row.status == ResultStatus.NOT_ANALYSED and row.reason_code == NOT_FRONTAL
        digest = row.digest or serving
        if digest is None or row.listed is None or (row.measures is None and not refused):
            continue
        measures = json.loads(row.measures) if row.measures else {}
        found.append(
            Watched(
                row.id, digest, row.station, measures, row.view, answers[row.id], refused,
                row.created_at,
            )
        )  # fmt: skip
    return found


def _station(row: AnyRow) -> StationRow:
    return StationRow(
        row.digest, row.station, row.images, row.quiet, json.loads(row.charts),
        json.loads(row.left), None if row.reference is None else json.loads(row.reference),
        row.reference_by, row.reference_at, row.updated_at, row.accepted_by,
    )  # fmt: skip
