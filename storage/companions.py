"""What a new report puts into the outbox: itself, then the objects beside it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, insert, select

from storage.database import insert_or
from storage.listing import put_own
from storage.records import CompanionId, DeliveryState, NewObject, ReportId
from storage.schema import companion, delivery


def enqueue(
    connection: Connection,
    report_id: ReportId,
    companions: Sequence[NewObject],
    pacs: Sequence[str],
    now: float,
) -> None:
    """Have a report delivered, and then the objects beside it: no answer waits for a picture.

    An object that an earlier version of the report had beside it is on its way, or there.
    """
    new = {"state": DeliveryState.PENDING, "next_attempt_at": now, "attempts": 0, "token": 0}
    if pacs:
        connection.execute(
            insert(delivery).values(report_id=report_id, **new), [{"pacs": name} for name in pacs]
        )
    for position, one in enumerate(companions):
        companion_id = _insert_companion(connection, report_id, position, one, now)
        put_own(connection, one.sop_instance_uid, one.header)
        for name in pacs:
            connection.execute(
                insert_or(connection, delivery)
                .values(report_id=report_id, companion_id=companion_id, pacs=name, **new)
                .on_conflict_do_nothing(index_elements=["companion_id", "pacs"])
            )


def _insert_companion(
    connection: Connection, report_id: ReportId, position: int, one: NewObject, now: float
) -> CompanionId:
    new = insert_or(connection, companion).values(
        report_id=report_id,
        position=position,
        sop_instance_uid=one.sop_instance_uid,
        sop_class_uid=one.sop_class_uid,
        sha256=one.sha256,
        size_bytes=one.size_bytes,
        created_at=now,
    )
    unless_known = new.on_conflict_do_nothing(index_elements=["sop_instance_uid"])
    companion_id = connection.execute(unless_known.returning(companion.c.id)).scalar_one_or_none()
    if companion_id is None:
        query = select(companion.c.id).where(companion.c.sop_instance_uid == one.sop_instance_uid)
        companion_id = connection.execute(query).scalar_one()
    return CompanionId(companion_id)
