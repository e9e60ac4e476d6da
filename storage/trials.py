"""Trials: a candidate beside what serves, for so many images or so long; one at a time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from storage.audit import Audit
from storage.bundles import Model, Revision
from storage.database import Database
from storage.errors import Refused
from storage.ledger import Ledger, LedgerRefuses
from storage.ledger_rows import to_model
from storage.people import Action
from storage.results import AnyRow, cut
from storage.schema import model, result, shadow, trial
from storage.shadow_records import ShadowState, Trial, TrialId, TrialState


class Trials:
    """The trials of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)
        self._ledger = Ledger(database)

    def start(self, named: str, actor: str, now: float, until: float, images: int) -> Trial:
        """Begin a trial of a registered bundle, on what is classified from now on.

        Raises NotFound, and Refused where another is open, or the bundle serves or cannot.
        """
        candidate = self._ledger.find(named)
        with self._database.write() as connection:
            serving, running = self._ledger.serving(), self.open()
            if serving is None:
                raise Refused("No bundle serves yet: start the service once.")
            if running is not None:
                raise Refused(f"{running.model.version} is in its trial: stop that one first.")
            if serving.model.id == candidate.id:
                raise Refused(f"{candidate.version} serves already.")
            if candidate.reason is not None:
                raise LedgerRefuses(f"{candidate.version} was refused: {candidate.reason}")
            values = {
                "model_id": candidate.id, "against_id": serving.model.id,
                "promotion": serving.revision.promotion, "threshold": serving.revision.threshold,
                "after_result": connection.execute(select(func.max(result.c.id))).scalar() or 0,
                "state": TrialState.OPEN, "images": images,
                "started_by": actor, "started_at": now, "until": until,
            }  # fmt: skip
            connection.execute(insert(trial).values(values))
            told: dict[str, str | float] = {
                "images": images, "until": until, "against": serving.model.version,
            }  # fmt: skip
            self._audit.append(actor, Action.SHADOW_STARTED, candidate.version, told, at=now)
            made = self.open()
        assert made is not None
        return made

    def open(self) -> Trial | None:
        """Return the trial that runs."""
        found = self._trials(_rows().where(trial.c.state == TrialState.OPEN))
        return found[0] if found else None

    def of(self, digest: str) -> tuple[Trial, ...]:
        """Return the trials of a bundle, the newest first."""
        return self._trials(_rows().where(model.c.digest == digest))

    def end(self, which: TrialId, state: TrialState, actor: str, reason: str, now: float) -> bool:
        """End a trial; return whether it was open."""
        with self._database.write() as connection:
            values = {"state": state, "ended_by": actor, "ended_at": now, "reason": cut(reason)}
            ended = connection.execute(
                update(trial)
                .where(trial.c.id == which, trial.c.state == TrialState.OPEN)
                .values(values)
            )
            if ended.rowcount == 1:
                (one,) = self._trials(_rows().where(trial.c.id == which))
                told: dict[str, str | int] = {
                    "state": state, "reason": cut(reason), "images": one.done,
                }  # fmt: skip
                self._audit.append(actor, Action.SHADOW_ENDED, one.model.version, told, at=now)
            return ended.rowcount == 1

    def is_current(self, one: Trial) -> bool:
        """Whether what serves, and every threshold, is what it was when the trial began."""
        now, then = self._ledger.revision(), one.revision
        return (now.promotion, now.threshold) == (then.promotion, then.threshold)

    def _trials(self, query: Select[Any]) -> tuple[Trial, ...]:
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(trial.c.id.desc())).all()
            return tuple(_to_trial(connection, row) for row in rows)


def _rows() -> Select[Any]:
    answered = (
        select(func.count())
        .where(shadow.c.trial_id == trial.c.id, shadow.c.state != ShadowState.RUNNING)
        .scalar_subquery()
    )
    return select(trial, answered.label("done")).join(model, trial.c.model_id == model.c.id)


def _to_trial(connection: Connection, row: AnyRow) -> Trial:
    def of(model_id: int) -> Model:
        return to_model(connection.execute(select(model).where(model.c.id == model_id)).one())

    return Trial(
        TrialId(row.id), of(row.model_id), of(row.against_id),
        Revision(row.promotion, row.threshold), row.after_result, row.state, row.images, row.done,
        row.started_by, row.started_at, row.until, row.ended_by, row.ended_at, row.reason,
    )  # fmt: skip
