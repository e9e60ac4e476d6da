"""The outbox: every report's way to every PACS, at least once and in order per study.

`storage.records.DeliveryState` draws the states.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, select, update

from storage.database import Database
from storage.errors import LostClaim, NotFound, StorageError
from storage.jobs import NO_CLAIM
from storage.records import (
    Delivery,
    DeliveryId,
    DeliveryRow,
    DeliveryState,
    ReportId,
    Sha256,
    Token,
)
from storage.results import cut
from storage.schema import delivery, report, study


class Outbox:
    """The deliveries. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def claim(
        self, pacs: str, limit: int, owner: str, lease_s: float, now: float
    ) -> list[Delivery]:
        """Take up to `limit` deliveries whose time has come, the longest due first.

        A version of a report is held back while an earlier one is on its way to the same PACS.
        """
        with self._database.read() as connection:
            if connection.execute(_claimable(pacs, 1, now)).first() is None:
                return []
        with self._database.write() as connection:
            rows = connection.execute(_claimable(pacs, limit, now)).all()
            connection.execute(
                update(delivery)
                .where(delivery.c.id.in_([row.id for row in rows]))
                .values(
                    state=DeliveryState.SENDING,
                    attempts=delivery.c.attempts + 1,
                    token=delivery.c.token + 1,
                    owner=owner,
                    lease_until=now + lease_s,
                )
            )
        return [
            Delivery(
                id=DeliveryId(row.id),
                report_id=ReportId(row.report_id),
                pacs=pacs,
                sop_instance_uid=row.sop_instance_uid,
                sop_class_uid=row.sop_class_uid,
                sha256=Sha256(row.sha256),
                attempts=row.attempts + 1,
                token=Token(row.token + 1),
            )
            for row in rows
        ]

    def stored(self, claim: Delivery, status: str, now: float) -> None:
        """The PACS has answered that it holds the object. Raises LostClaim."""
        self._give_up(
            claim, state=DeliveryState.STORED, stored_at=now, last_status=status, last_error=None
        )

    def later(
        self, claim: Delivery, not_before: float, status: str | None, error: str | None, now: float
    ) -> None:
        """Try again, no sooner than `not_before`. Raises LostClaim."""
        self._give_up(
            claim,
            state=DeliveryState.PENDING,
            next_attempt_at=max(not_before, now),
            last_status=status,
            last_error=_cut(error),
        )

    def dead(self, claim: Delivery, status: str | None, error: str | None, now: float) -> None:
        """Refused for good, for an administrator to see. Raises LostClaim."""
        self._give_up(
            claim,
            state=DeliveryState.DEAD,
            next_attempt_at=now,
            last_status=status,
            last_error=_cut(error),
        )

    def reset_sending(self, owner: str | None = None) -> int:
        """Put back what was being sent, by that owner or, at start, by anyone; return how many."""
        query = update(delivery).where(delivery.c.state == DeliveryState.SENDING)
        if owner is not None:
            query = query.where(delivery.c.owner == owner)
        with self._database.write() as connection:
            return connection.execute(
                query.values(state=DeliveryState.PENDING, **NO_CLAIM)
            ).rowcount

    def release(self, owner: str) -> int:
        """Put back what an owner held that has died; return how many."""
        return self.reset_sending(owner)

    def rows(
        self, states: Collection[DeliveryState] | None = None, limit: int = 200
    ) -> list[DeliveryRow]:
        """Return the newest deliveries first, of those states or of all."""
        query = (
            select(
                delivery, report.c.sop_instance_uid, report.c.version, study.c.study_instance_uid
            )
            .join(report, delivery.c.report_id == report.c.id)
            .join(study, report.c.study_id == study.c.id)
            .order_by(delivery.c.id.desc())
            .limit(limit)
        )
        if states is not None:
            query = query.where(delivery.c.state.in_(states))
        with self._database.read() as connection:
            return [
                DeliveryRow(
                    id=DeliveryId(row.id),
                    pacs=row.pacs,
                    state=row.state,
                    attempts=row.attempts,
                    study_instance_uid=row.study_instance_uid,
                    sop_instance_uid=row.sop_instance_uid,
                    version=row.version,
                    next_attempt_at=row.next_attempt_at,
                    stored_at=row.stored_at,
                    last_status=row.last_status,
                    last_error=row.last_error,
                )
                for row in connection.execute(query)
            ]

    def retry_by_hand(self, delivery_id: DeliveryId, now: float) -> None:
        """Send a dead delivery again, at once, its attempts counted from zero.

        Raises NotFound, and StorageError in any other state.
        """
        with self._database.write() as connection:
            query = select(delivery.c.state).where(delivery.c.id == delivery_id)
            state = connection.execute(query.with_for_update()).scalar_one_or_none()
            if state is None:
                raise NotFound(f"There is no delivery {delivery_id}.")
            if state != DeliveryState.DEAD:
                raise StorageError(
                    f"Delivery {delivery_id} is {state} and cannot be retried by hand; "
                    "only a dead delivery can."
                )
            connection.execute(
                update(delivery)
                .where(delivery.c.id == delivery_id)
                .values(state=DeliveryState.PENDING, next_attempt_at=now, attempts=0)
            )

    def open_objects(self) -> list[Sha256]:
        """Return the objects of the reports that no PACS has answered for."""
        query = (
            select(report.c.sha256)
            .join(delivery, delivery.c.report_id == report.c.id)
            .where(delivery.c.state != DeliveryState.STORED)
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def next_due(self, pacs: str) -> float | None:
        """Return when `claim` will next find something; None while nothing waits."""
        query = _in_order(select(delivery.c.next_attempt_at), pacs).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def _give_up(self, claim: Delivery, **values: object) -> None:
        """End a claim. The token is the fence: whoever took over since has a larger one."""
        with self._database.write() as connection:
            changed = connection.execute(
                update(delivery)
                .where(delivery.c.id == claim.id, delivery.c.token == claim.token)
                .where(delivery.c.state == DeliveryState.SENDING)
                .values(**values, **NO_CLAIM)
            )
            if changed.rowcount != 1:
                raise LostClaim(f"Delivery {claim.id} is no longer held under token {claim.token}.")


def _claimable(pacs: str, limit: int, now: float) -> Select[Any]:
    query = select(
        delivery.c.id,
        delivery.c.report_id,
        delivery.c.attempts,
        delivery.c.token,
        report.c.sop_instance_uid,
        report.c.sop_class_uid,
        report.c.sha256,
    )
    due = _in_order(query, pacs).where(delivery.c.next_attempt_at <= now).limit(limit)
    return due.with_for_update(of=delivery, skip_locked=True)


def _in_order(query: Select[Any], pacs: str) -> Select[Any]:
    """Narrow to what waits for a PACS and is not held back by an earlier version."""
    return (
        query.join(report, delivery.c.report_id == report.c.id)
        .where(delivery.c.state == DeliveryState.PENDING, delivery.c.pacs == pacs)
        .where(~_held_back())
        .order_by(delivery.c.next_attempt_at, delivery.c.id)
    )


def _held_back() -> ColumnElement[bool]:
    earlier, way = report.alias("earlier"), delivery.alias("way")
    return (
        select(way.c.id)
        .join(earlier, way.c.report_id == earlier.c.id)
        .where(earlier.c.study_id == report.c.study_id, earlier.c.version < report.c.version)
        .where(way.c.pacs == delivery.c.pacs)
        .where(way.c.state.in_([DeliveryState.PENDING, DeliveryState.SENDING]))
        .exists()
    )


def _cut(text: str | None) -> str | None:
    return None if text is None else cut(text)
