"""Where the report of a study stands, as the pages show it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from storage.database import Database
from storage.records import DeliveryState
from storage.schema import delivery, report, study


@dataclass(frozen=True, slots=True)
class ReportState:
    """The latest version of a study's report, and how far it is on its way to each PACS."""

    version: int
    created_at: float
    sop_instance_uid: str
    deliveries: tuple[tuple[str, DeliveryState], ...]  # PACS by name, of the report itself


def latest_report(database: Database, study_instance_uid: str) -> ReportState | None:
    """Return the state of the latest version, None before the first."""
    newest = (
        select(report.c.id, report.c.version, report.c.created_at, report.c.sop_instance_uid)
        .join(study, report.c.study_id == study.c.id)
        .where(study.c.study_instance_uid == study_instance_uid)
        .where(report.c.version == study.c.report_version)
    )
    with database.read() as connection:
        row = connection.execute(newest).first()
        if row is None:
            return None
        ways = connection.execute(
            select(delivery.c.pacs, delivery.c.state)
            .where(delivery.c.report_id == row.id, delivery.c.companion_id.is_(None))
            .order_by(delivery.c.pacs)
        ).all()
    deliveries = tuple((way.pacs, DeliveryState(way.state)) for way in ways)
    return ReportState(row.version, row.created_at, row.sop_instance_uid, deliveries)
