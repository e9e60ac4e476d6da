"""Storage commitment: what a PACS is asked to take responsibility for, and what it answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, insert, select, update

from storage.audit import Audit, Detail
from storage.database import Database, unheld
from storage.errors import NotFound
from storage.people import SERVICE, Action
from storage.records import CommitmentRequest, Committed, DeliveryState, Form
from storage.results import cut
from storage.schema import commitment, delivery

MAX_RESENT = 3  # times that an object is sent again after the PACS could not commit to it


class Commitments:
    """The requests for commitment. Safe to use from several threads.

    A request is durable before it is sent, so that its report is known whenever it comes, in
    whichever process; a request that was never sent, or never answered, is made anew.
    """

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database

    def ask(
        self, pacs: str, transaction_uid: str, limit: int, again_at: float, now: float
    ) -> CommitmentRequest:
        """Open a transaction for up to `limit` objects that are to be committed to.

        Without a report they are asked for anew from `again_at` on. Where nothing is due, the
        request is empty and there is no transaction.
        """
        due = (
            select(
                delivery.c.id,
                delivery.c.sent_class_uid,
                delivery.c.sent_uid,
                delivery.c.commitment_id,
            )
            .where(delivery.c.state == DeliveryState.COMMITTING, delivery.c.pacs == pacs)
            .where(delivery.c.next_attempt_at <= now)
            .order_by(delivery.c.next_attempt_at, delivery.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:  # an idle thread takes no write lock
            if connection.execute(due.limit(1)).first() is None:
                return CommitmentRequest()
        with self._database.write() as connection:
            rows = connection.execute(unheld(due, delivery)).all()
            if not rows:
                return CommitmentRequest()
            new = insert(commitment).values(
                transaction_uid=transaction_uid, pacs=pacs, asked_at=now
            )
            commitment_id = connection.execute(new.returning(commitment.c.id)).scalar_one()
            connection.execute(
                update(delivery)
                .where(delivery.c.id.in_([row.id for row in rows]))
                .values(commitment_id=commitment_id, next_attempt_at=again_at)
            )
        forms = tuple(Form(row.sent_class_uid, row.sent_uid) for row in rows)
        return CommitmentRequest(forms, sum(row.commitment_id is not None for row in rows))

    def postpone(self, transaction_uid: str, again_at: float, reason: str) -> None:
        """Ask anew from `again_at` on: the PACS did not take the request. Raises NotFound."""
        with self._database.write() as connection:
            number, _ = _transaction(connection, transaction_uid)
            connection.execute(
                update(delivery)
                .where(delivery.c.commitment_id == number)
                .where(delivery.c.state == DeliveryState.COMMITTING)
                .values(next_attempt_at=again_at, commitment_id=None, last_error=cut(reason))
            )

    def report(
        self,
        transaction_uid: str,
        committed: Collection[str],
        failed: Mapping[str, str],
        resend_at: float,
        now: float,
    ) -> Committed:
        """Take a PACS's report: SOP Instance UIDs, those that failed with their reason.

        What failed is sent again from `resend_at` on, the fourth time given up. A report may come
        twice, or late: what is committed stays so, and a failure counts while no newer request is
        open. Raises NotFound for a transaction that is not ours.
        """
        with self._database.write() as connection:
            number, pacs = _transaction(connection, transaction_uid)
            connection.execute(
                update(commitment).where(commitment.c.id == number).values(answered_at=now)
            )
            done = connection.execute(
                update(delivery)
                .where(delivery.c.sent_uid.in_(committed), delivery.c.pacs == pacs)
                .where(delivery.c.state == DeliveryState.COMMITTING)
                .values(state=DeliveryState.COMMITTED, last_error=None)
            ).rowcount
            resent = dead = 0
            for uid, reason in failed.items():
                again = _fail(connection, number, uid, reason, resend_at)
                resent += again is True
                dead += again is False
            said: Detail = {"pacs": pacs, "committed": done, "resent": resent, "dead": dead}
            Audit(self._database).append(
                SERVICE, Action.COMMITMENT_REPORTED, transaction_uid, said, at=now
            )
        return Committed(done, resent, dead)

    def waive(self, pacs: str) -> None:
        """Take what a PACS has stored for done: it is not to be asked any more."""
        with self._database.write() as connection:
            connection.execute(
                update(delivery)
                .where(delivery.c.state == DeliveryState.COMMITTING, delivery.c.pacs == pacs)
                .values(state=DeliveryState.STORED, last_error=None)
            )


def _transaction(connection: Connection, uid: str) -> tuple[int, str]:
    query = select(commitment.c.id, commitment.c.pacs).where(commitment.c.transaction_uid == uid)
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"There is no storage commitment transaction {uid}.")
    return row.id, row.pacs


def _fail(
    connection: Connection, commitment_id: int, uid: str, reason: str, resend_at: float
) -> bool | None:
    """Send an object again, or give it up; return whether again, None where it is not open."""
    row = connection.execute(
        select(delivery.c.id, delivery.c.resent)
        .where(delivery.c.sent_uid == uid, delivery.c.commitment_id == commitment_id)
        .where(delivery.c.state == DeliveryState.COMMITTING)
        .with_for_update()
    ).first()
    if row is None:
        return None
    again: bool = row.resent < MAX_RESENT
    connection.execute(
        update(delivery)
        .where(delivery.c.id == row.id)
        .values(
            state=DeliveryState.PENDING if again else DeliveryState.DEAD,
            next_attempt_at=resend_at,
            resent=row.resent + 1 if again else row.resent,
            last_error=cut(f"storage commitment failed: {reason}"),
        )
    )
    return again
