"""What readers agree on of findings, beside what was computed; no patient data is read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, Select, cast, func, select

from storage.database import Database
from storage.schema import finding, instance, label, result, study_header
from storage.watching import station_name

REVIEWED = 20_000
"""Labels that are looked at, the newest: more would say the same, later."""


@dataclass(frozen=True, slots=True)
class Said:
    """What readers agree on of a finding in an image, and what had been computed."""

    finding: str
    station: str
    probability: float
    threshold: float
    present: bool
    at: float


class Agreed:
    """The labels on which all readers agree. Safe to use from several threads and processes."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def changed(self) -> tuple[int, float]:
        """Return what changes with every label: how many there are, and the newest one's time."""
        query = select(func.count(), func.coalesce(func.max(label.c.labelled_at), 0.0))
        with self._database.read() as connection:
            count, newest = connection.execute(query.select_from(label)).one()
        return int(count), float(newest)

    def said(self, version: str) -> tuple[Said, ...]:
        """Return what readers agree on of images that a bundle judged, the oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(_said(version)).all()
        return tuple(
            Said(row.name, row.station, row.probability, row.threshold, bool(row.said), row.at)
            for row in reversed(rows)
        )


def _said(version: str) -> Select[Any]:
    """Select the newest first: all who read the image and named the finding said the same."""
    value = cast(label.c.present, Integer)
    agreed = (
        select(
            label.c.instance_id, label.c.finding, func.max(value).label("said"),
            func.max(label.c.labelled_at).label("at"),
        )
        .group_by(label.c.instance_id, label.c.finding)
        .having(func.max(value) == func.min(value))
        .subquery()
    )  # fmt: skip
    return (
        select(
            finding.c.name, station_name.label("station"), finding.c.probability,
            finding.c.threshold, agreed.c.said, agreed.c.at,
        )
        .select_from(agreed)
        .join(result, result.c.instance_id == agreed.c.instance_id)
        .join(
            finding, (finding.c.result_id == result.c.id) & (finding.c.name == agreed.c.finding)
        )
        .join(instance, result.c.instance_id == instance.c.id)
        .outerjoin(study_header, study_header.c.study_id == instance.c.study_id)
        .where(result.c.bundle == version)
        .order_by(agreed.c.at.desc(), result.c.id.desc())
        .limit(REVIEWED)
    )  # fmt: skip
