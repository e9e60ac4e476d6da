"""The hold-out: patients whom no bundle ever learns from, drawn at their first label.

A patient stands here under a hash of his id. Whether he is held out follows from the salt of the
draw, so that nobody chooses; it stays so until a named administrator draws anew. Whom a bundle may
have learnt from is never held out again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from storage.acceptance_rows import sampled_patients
from storage.audit import Audit
from storage.database import Database, insert_or
from storage.errors import Refused
from storage.people import SERVICE, Action
from storage.results import AnyRow, cut
from storage.schema import holdout_draw, holdout_patient, study, study_header

SHARE = 0.3
"""Of the patients, unless an administrator says otherwise."""
FIRST_DRAW = "drawn at the first label"


@dataclass(frozen=True, slots=True)
class Holdout:
    """How the hold-out stands: the draw in force, and the patients with labels."""

    share: float
    actor: str
    reason: str
    at: float
    held_out: int
    trained: int  # a bundle may have learnt from them
    free: int  # neither


def patient_key(patient_id: str, issuer: str, study_instance_uid: str) -> str:
    """Return what a patient stands under; a study without a patient's id is one of its own."""
    named = f"{issuer}\0{patient_id}" if patient_id.strip() else f"study\0{study_instance_uid}"
    return hashlib.sha256(named.encode()).hexdigest()


def draw_study(connection: Connection, study_id: int, at: float) -> None:
    """Draw the patient of a study whose first label this is, if he was not drawn before.

    A study whose header is not read yet has no known patient: it is drawn when its labels are
    used, and by then its header was read.
    """
    query = (
        select(study_header.c.patient_id, study_header.c.issuer, study.c.study_instance_uid)
        .join(study, study_header.c.study_id == study.c.id)
        .where(study_header.c.study_id == study_id, study_header.c.header == "read")
    )
    row = connection.execute(query).first()
    if row is not None:
        key = patient_key(row.patient_id, row.issuer, row.study_instance_uid)
        draw(connection, [key], at)


def draw(connection: Connection, patients: Iterable[str], at: float) -> None:
    """Draw those of the patients who were not drawn before."""
    wanted = sorted(set(patients))
    known: set[str] = set()
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        query = select(holdout_patient.c.patient).where(holdout_patient.c.patient.in_(part))
        known |= set(connection.execute(query).scalars())
    fresh = [one for one in wanted if one not in known]
    if not fresh:
        return
    force = _in_force(connection, at)
    for one in fresh:
        new = insert_or(connection, holdout_patient).values(
            patient=one, draw_id=force.id, held_out=_held_out(one, force), drawn_at=at
        )
        connection.execute(new.on_conflict_do_nothing())


class Holdouts:
    """The hold-out of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    def members(self) -> dict[str, bool]:
        """Return of each patient who was drawn whether he is held out."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(holdout_patient.c.patient, holdout_patient.c.held_out)
            ).all()
        return {row.patient: row.held_out for row in rows}

    def trained(self) -> frozenset[str]:
        """Return the patients whom a bundle may have learnt from."""
        query = select(holdout_patient.c.patient).where(holdout_patient.c.trained_at.is_not(None))
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def sampled(self) -> frozenset[str]:
        """Return the patients in acceptance tests that are open."""
        with self._database.read() as connection:
            return sampled_patients(connection)

    def draw(self, patients: Iterable[str], at: float) -> dict[str, bool]:
        """Draw whoever was not; return of each patient whether he is held out."""
        with self._database.write() as connection:
            draw(connection, patients, at)
        return self.members()

    def note_trained(self, patients: Collection[str], at: float) -> None:
        """Note before it begins that a bundle learns from patients.

        Raises Refused where one of them has been held out meanwhile, or drawn for an acceptance
        test.
        """
        with self._database.write() as connection:
            if not sampled_patients(connection).isdisjoint(patients):
                raise Refused("A patient was drawn for an acceptance test: let it run again.")
            for one in sorted(set(patients)):
                row = connection.execute(
                    select(holdout_patient.c.held_out)
                    .where(holdout_patient.c.patient == one)
                    .with_for_update()
                ).first()
                if row is None or row.held_out:
                    raise Refused("A patient was held out meanwhile: let it run again.")
                connection.execute(
                    update(holdout_patient)
                    .where(holdout_patient.c.patient == one)
                    .where(holdout_patient.c.trained_at.is_(None))
                    .values(trained_at=at)
                )

    def refresh(self, actor: str, reason: str, at: float, share: float = SHARE) -> Holdout:
        """Draw anew among all patients whom no bundle has learnt from.

        Raises Refused without a reason, or where the share leaves nothing on one side.
        """
        if not reason.strip():
            raise Refused("A reason is needed: the draw keeps it.")
        if not 0 < share < 1:
            raise Refused(f"The share held out is above 0 and below 1. Received: {share:g}.")
        with self._database.write() as connection:
            force = _new_draw(connection, share, actor, reason.strip(), at)
            free = select(holdout_patient.c.patient).where(holdout_patient.c.trained_at.is_(None))
            for one in connection.execute(free).scalars().all():
                connection.execute(
                    update(holdout_patient)
                    .where(holdout_patient.c.patient == one)
                    .values(held_out=_held_out(one, force), draw_id=force.id, drawn_at=at)
                )
            detail: dict[str, str | float] = {"reason": cut(reason.strip()), "share": share}
            self._audit.append(actor, Action.HOLDOUT_REFRESHED, "hold-out", detail, at=at)
        found = self.show()
        assert found is not None
        return found

    def show(self) -> Holdout | None:
        """Return how the hold-out stands; None before the first label."""
        held, trained = holdout_patient.c.held_out, holdout_patient.c.trained_at.is_not(None)
        counts = select(held, trained.label("trained"), func.count().label("n"))
        with self._database.read() as connection:
            force = connection.execute(_last()).first()
            if force is None:
                return None
            rows = connection.execute(counts.group_by(held, trained)).all()
        return Holdout(
            share=force.share,
            actor=force.actor,
            reason=force.reason,
            at=force.at,
            held_out=sum(row.n for row in rows if row.held_out),
            trained=sum(row.n for row in rows if row.trained),
            free=sum(row.n for row in rows if not row.held_out and not row.trained),
        )


def _held_out(patient: str, force: AnyRow) -> bool:
    drawn = hashlib.sha256(f"{force.salt}{patient}".encode()).digest()
    return int.from_bytes(drawn[:8]) / 2**64 < float(force.share)


def _last() -> Select[Any]:
    return select(holdout_draw).order_by(holdout_draw.c.id.desc()).limit(1)


def _in_force(connection: Connection, at: float) -> AnyRow:
    found = connection.execute(_last()).first()
    return found or _new_draw(connection, SHARE, SERVICE, FIRST_DRAW, at)


def _new_draw(connection: Connection, share: float, actor: str, reason: str, at: float) -> AnyRow:
    connection.execute(
        insert(holdout_draw).values(
            share=share, salt=secrets.token_hex(16), actor=actor, reason=cut(reason), at=at
        )
    )
    return connection.execute(_last()).one()
