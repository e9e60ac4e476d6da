"""The outbox: every object's way to every PACS, at least once and in order per study.

`storage.records.DeliveryState` draws the states.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, true, update

from storage.database import Database, unheld
from storage.errors import LostClaim
from storage.jobs import NO_CLAIM, hold_by_hand
from storage.records import (
    CompanionId,
    Delivery,
    DeliveryId,
    DeliveryRow,
    DeliveryState,
    Form,
    ReportId,
    Sha256,
    Token,
)
from storage.results import AnyRow, cut
from storage.schema import companion, delivery, report, study
from storage.trail import Trail

_UNFINISHED = [state for state in DeliveryState if not state.is_final]
_BY_HAND = (DeliveryState.DEAD, DeliveryState.NOT_TAKEN)


class Outbox:
    """The deliveries. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._trail = Trail(database)

    def claim(
        self, pacs: str, limit: int, owner: str, lease_s: float, now: float
    ) -> list[Delivery]:
        """Take up to `limit` deliveries whose time has come, the longest due first.

        What is due at once goes in the order of `enqueue`: a report, then what stands beside it.
        A version is held back while an earlier report is on its way to the same PACS.
        """
        with self._database.read() as connection:
            if connection.execute(_claimable(pacs, 1, now)).first() is None:
                return []
        with self._database.write() as connection:
            rows = connection.execute(unheld(_claimable(pacs, limit, now), delivery)).all()
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
        return [_to_delivery(row, pacs) for row in rows]

    def stored(
        self,
        claim: Delivery,
        status: str,
        now: float,
        sent: Form | None = None,
        *,
        commit: bool = False,
    ) -> None:
        """The PACS has answered that it holds the object, in that form. Raises LostClaim.

        `commit`: it is to be asked whether it commits to it.
        """
        form = sent or Form(claim.sop_class_uid, claim.sop_instance_uid)
        with self._database.write():
            self._give_up(
                claim,
                state=DeliveryState.COMMITTING if commit else DeliveryState.STORED,
                next_attempt_at=now,
                stored_at=now,
                last_status=status,
                last_error=None,
                **_sent(form),
            )
            self._trail.delivered(claim, form, status, now)

    def later(
        self,
        claim: Delivery,
        not_before: float,
        status: str | None,
        error: str | None,
        now: float,
        tried: Form | None = None,
    ) -> None:
        """Try again, no sooner than `not_before`; in the form tried, if any. Raises LostClaim."""
        self._give_up(
            claim,
            state=DeliveryState.PENDING,
            next_attempt_at=max(not_before, now),
            last_status=status,
            last_error=_cut(error),
            **({} if tried is None else _sent(tried)),
        )

    def put_back(self, claim: Delivery, status: str, error: str, now: float) -> None:
        """Undo a claim under which nothing was sent; no attempt is counted. Raises LostClaim."""
        self._give_up(
            claim,
            state=DeliveryState.PENDING,
            attempts=claim.attempts - 1,
            next_attempt_at=now,
            last_status=status,
            last_error=_cut(error),
        )

    def dead(self, claim: Delivery, status: str | None, error: str | None, now: float) -> None:
        """Refused for good, for an administrator to see. Raises LostClaim."""
        self._end(claim, DeliveryState.DEAD, status, error, now)

    def not_taken(self, claim: Delivery, status: str | None, error: str, now: float) -> None:
        """The PACS takes no such object beside a report. Raises LostClaim."""
        self._end(claim, DeliveryState.NOT_TAKEN, status, error, now)

    def release_all(self, host: str = "") -> int:
        """Put back what a host, or anyone, was sending at start; return how many.

        `host` as in `Queue.release_all`.
        """
        return self._release(delivery.c.owner.endswith(host, autoescape=True) if host else true())

    def release(self, owner: str, pacs: str | None = None) -> int:
        """Put back what an owner held that has died, for one PACS or for all; return how many."""
        to = true() if pacs is None else delivery.c.pacs == pacs
        return self._release(delivery.c.owner == owner, to)

    def _release(self, *which: ColumnElement[bool]) -> int:
        query = update(delivery).where(delivery.c.state == DeliveryState.SENDING, *which)
        with self._database.write() as connection:
            return connection.execute(
                query.values(state=DeliveryState.PENDING, **NO_CLAIM)
            ).rowcount

    def rows(
        self, states: Collection[DeliveryState] | None = None, limit: int = 200
    ) -> list[DeliveryRow]:
        """Return the newest deliveries first, of those states or of all."""
        query = (
            select(delivery, *_OBJECT, report.c.version, study.c.study_instance_uid)
            .join(report, delivery.c.report_id == report.c.id)
            .join(study, report.c.study_id == study.c.id)
            .outerjoin(companion, delivery.c.companion_id == companion.c.id)
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
                    sop_class_uid=row.sop_class_uid,
                    version=row.version,
                    companion=row.companion_id is not None,
                    sent=_form(row),
                    next_attempt_at=row.next_attempt_at,
                    stored_at=row.stored_at,
                    last_status=row.last_status,
                    last_error=row.last_error,
                )
                for row in connection.execute(query)
            ]

    def retry_by_hand(self, delivery_id: DeliveryId, now: float) -> None:
        """Send again, at once, what was refused; its attempts are counted from zero.

        Raises NotFound, and StorageError in any other state.
        """
        with self._database.write() as connection:
            hold_by_hand(connection, delivery, delivery_id, "retried", _BY_HAND)
            connection.execute(
                update(delivery)
                .where(delivery.c.id == delivery_id)
                .values(state=DeliveryState.PENDING, next_attempt_at=now, attempts=0, resent=0)
            )

    def open_objects(self) -> list[Sha256]:
        """Return the objects that a PACS has not answered for, or may need again."""
        query = (
            select(_SHA256)
            .select_from(delivery)
            .join(report, delivery.c.report_id == report.c.id)
            .outerjoin(companion, delivery.c.companion_id == companion.c.id)
            .where(delivery.c.state.in_(_UNFINISHED))
        )
        with self._database.read() as connection:
            return list(connection.execute(query).scalars())

    def counts(self) -> dict[str, dict[DeliveryState, int]]:
        """Return how many deliveries stand in each state, for each PACS that has any."""
        query = select(delivery.c.pacs, delivery.c.state, func.count()).group_by(
            delivery.c.pacs, delivery.c.state
        )
        found: dict[str, dict[DeliveryState, int]] = {}
        with self._database.read() as connection:
            for pacs, state, count in connection.execute(query):
                found.setdefault(pacs, {})[state] = count
        return found

    def _end(
        self,
        claim: Delivery,
        state: DeliveryState,
        status: str | None,
        error: str | None,
        now: float,
    ) -> None:
        with self._database.write():
            self._give_up(
                claim, state=state, next_attempt_at=now, last_status=status, last_error=_cut(error)
            )
            self._trail.refused(claim, status or "", now)

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


_SHA256 = func.coalesce(companion.c.sha256, report.c.sha256).label("sha256")
_OBJECT = (
    func.coalesce(companion.c.sop_instance_uid, report.c.sop_instance_uid).label(
        "sop_instance_uid"
    ),
    func.coalesce(companion.c.sop_class_uid, report.c.sop_class_uid).label("sop_class_uid"),
    _SHA256,
)


def _sent(form: Form) -> dict[str, str]:
    return {"sent_class_uid": form.sop_class_uid, "sent_uid": form.sop_instance_uid}


def _form(row: AnyRow) -> Form | None:
    return None if row.sent_uid is None else Form(row.sent_class_uid, row.sent_uid)


def _to_delivery(row: AnyRow, pacs: str) -> Delivery:
    """Read what `_claimable` selected, as it stands once claimed."""
    return Delivery(
        id=DeliveryId(row.id),
        report_id=ReportId(row.report_id),
        pacs=pacs,
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        sha256=Sha256(row.sha256),
        attempts=row.attempts + 1,
        token=Token(row.token + 1),
        companion_id=None if row.companion_id is None else CompanionId(row.companion_id),
        tried=_form(row),
        study_instance_uid=row.study_instance_uid,
    )


def _claimable(pacs: str, limit: int, now: float) -> Select[Any]:
    """Select what waits for a PACS and is not held back by an earlier version."""
    return (
        select(
            delivery.c.id,
            delivery.c.report_id,
            delivery.c.attempts,
            delivery.c.token,
            delivery.c.companion_id,
            delivery.c.sent_class_uid,
            delivery.c.sent_uid,
            study.c.study_instance_uid,
            *_OBJECT,
        )
        .join(report, delivery.c.report_id == report.c.id)
        .join(study, report.c.study_id == study.c.id)
        .outerjoin(companion, delivery.c.companion_id == companion.c.id)
        .where(delivery.c.state == DeliveryState.PENDING, delivery.c.pacs == pacs)
        .where(delivery.c.next_attempt_at <= now)
        .where(~_held_back())
        .order_by(delivery.c.next_attempt_at, delivery.c.id)
        .limit(limit)
    )


def _held_back() -> ColumnElement[bool]:
    earlier, way = report.alias("earlier"), delivery.alias("way")
    return (
        select(way.c.id)
        .join(earlier, way.c.report_id == earlier.c.id)
        .where(earlier.c.study_id == report.c.study_id, earlier.c.version < report.c.version)
        .where(way.c.pacs == delivery.c.pacs, way.c.companion_id.is_(None))
        .where(way.c.state.in_([DeliveryState.PENDING, DeliveryState.SENDING]))
        .exists()
    )


def _cut(text: str | None) -> str | None:
    return None if text is None else cut(text)
