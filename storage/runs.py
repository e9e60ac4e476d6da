"""Runs: claimed by one process at a time, led to an end that is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, or_, select, update

from storage.audit import Audit
from storage.database import Database
from storage.errors import LostClaim, NotFound, Refused
from storage.jobs import NO_CLAIM
from storage.people import Action
from storage.records import Token
from storage.results import AnyRow, cut
from storage.run_rows import run_rows, to_run
from storage.schedule_records import Run, RunClaim, RunId, RunKind, RunState
from storage.schema import run

MAX_ATTEMPTS = 3
RETRY_S = (10.0, 60.0, 300.0)  # after the first process of a run has died, the second, ...
AHEAD_S = 3600.0
"""No lease and no wait is longer: one that is was written while the clock was wrong."""
DIED = "Each time it ran, its process ended before it was done."


class Runs:
    """The runs of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    def open(self) -> tuple[Run, ...]:
        """Return the runs that wait or are in work, the longest due first."""
        states = [RunState.WAITING, RunState.RUNNING]
        query = run_rows().where(run.c.state.in_(states)).order_by(run.c.due_at, run.c.id)
        with self._database.read() as connection:
            return tuple(map(to_run, connection.execute(query)))

    def rows(self, limit: int = 100) -> tuple[Run, ...]:
        """Return the runs, the newest first."""
        query = run_rows().order_by(run.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return tuple(map(to_run, connection.execute(query)))

    def show(self, run_id: int) -> Run:
        """Return a run. Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(run_rows().where(run.c.id == run_id)).first()
        if row is None:
            raise NotFound(f"There is no run {run_id}.")
        return to_run(row)

    def that_made(self, digest: str) -> Run | None:
        """Return the last run that made a bundle, None where none did."""
        query = run_rows().where(run.c.candidate == digest).order_by(run.c.id.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else to_run(row)

    def claim(self, run_id: int, owner: str, lease_s: float, now: float) -> RunClaim | None:
        """Take a run that waits; None where it is not to start now, or another is in work.

        A canary goes beside the others, as it is to say how the service is while they work.
        Raises NotFound.
        """
        with self._database.write() as connection:
            row = _held(connection, run_id)
            is_canary = run.c.kind == RunKind.CANARY
            in_work = (
                select(run.c.id)
                .where(run.c.state == RunState.RUNNING)
                .where(is_canary if row.kind == RunKind.CANARY else ~is_canary)
            )
            if row.state != RunState.WAITING or not may_start(row.not_before, now):
                return None
            if connection.execute(in_work.limit(1)).first() is not None:
                return None
            attempts, token = row.attempts + 1, row.token + 1
            connection.execute(
                update(run)
                .where(run.c.id == run_id)
                .values(
                    state=RunState.RUNNING, attempts=attempts, token=token, owner=owner,
                    lease_until=now + lease_s, started_at=row.started_at or now,
                    stage="", done=0, total=0,
                )
            )  # fmt: skip
        return RunClaim(RunId(run_id), RunKind(row.kind), attempts, Token(token), row.due_at)

    def beat(
        self, claim: RunClaim, lease_s: float, now: float, stage: str, done: int, total: int
    ) -> bool:
        """Extend the lease and note how far the run is; return whether it is to be cancelled.

        Raises LostClaim.
        """
        with self._database.write() as connection:
            values = {"lease_until": now + lease_s, "stage": stage[:64], "done": done}
            _give(connection, claim, total=total, **values)
            row = _held(connection, claim.id)
            return row.cancelled_by is not None

    def end(
        self,
        claim: RunClaim,
        state: RunState,
        now: float,
        outcome: Mapping[str, Any] | None = None,
        reason: str | None = None,
        candidate: str | None = None,
    ) -> None:
        """End a run, with what it found or why it found nothing. Raises LostClaim."""
        made = {} if candidate is None else {"candidate": candidate}
        with self._database.write() as connection:
            _give(
                connection, claim, state=state, ended_at=now, **made,
                reason=None if reason is None else cut(reason),
                outcome=None if outcome is None else json.dumps(outcome), **NO_CLAIM,
            )  # fmt: skip

    def note_candidate(self, claim: RunClaim, digest: str) -> None:
        """Note the bundle that a run has made, before it is judged. Raises LostClaim."""
        with self._database.write() as connection:
            _give(connection, claim, candidate=digest)

    def put_back(self, now: float, owner: str | None = None) -> tuple[RunId, ...]:
        """Let the runs wait again whose process has died: `owner`'s, or where a lease has ended.

        One whose process died too often has failed. Return them.
        """
        died = or_(run.c.lease_until <= now, run.c.lease_until > now + AHEAD_S)
        if owner is not None:
            died = or_(died, run.c.owner == owner)
        query = select(run).where(run.c.state == RunState.RUNNING, died)
        with self._database.read() as connection:
            if connection.execute(query.limit(1)).first() is None:
                return ()
        with self._database.write() as connection:
            rows = connection.execute(query.with_for_update()).all()
            for row in rows:
                values = _after_death(row, now)
                connection.execute(update(run).where(run.c.id == row.id).values(values))
        return tuple(RunId(row.id) for row in rows)

    def not_started(self, run_id: int, now: float) -> bool:
        """Count a process that died before it could claim the run; return whether it waited."""
        with self._database.write() as connection:
            row = _held(connection, run_id)
            if row.state != RunState.WAITING:
                return False
            counted = update(run).where(run.c.id == run_id).values(attempts=row.attempts + 1)
            connection.execute(counted)
            after = _after_death(_held(connection, run_id), now)
            connection.execute(update(run).where(run.c.id == run_id).values(after))
            return True

    def hand_back(self, claim: RunClaim) -> None:
        """Let a run wait again that is to go on later: its service stops. Raises LostClaim."""
        with self._database.write() as connection:
            attempts = claim.attempts - 1  # it did not fail
            _give(connection, claim, state=RunState.WAITING, attempts=attempts, **NO_CLAIM)

    def cancel(self, run_id: int, actor: str, now: float) -> RunState:
        """Cancel a run: at once where it waits, else as soon as its process sees it.

        Raises NotFound, and Refused where it has ended.
        """
        with self._database.write() as connection:
            row = _held(connection, run_id)
            if RunState(row.state).is_final:
                raise Refused(f"Run {run_id} is {row.state} and cannot be cancelled.")
            values: dict[str, Any] = {"cancelled_by": actor}
            if row.state == RunState.WAITING:
                values |= {"state": RunState.CANCELLED, "ended_at": now}
            connection.execute(update(run).where(run.c.id == run_id).values(values))
            self._audit.append(actor, Action.RUN_CANCELLED, f"run {run_id}", at=now)
            return RunState(values.get("state", row.state))


def may_start(not_before: float, now: float) -> bool:
    """Whether a run's wait is over, by a clock that may have been wrong when it began."""
    return not now < not_before <= now + AHEAD_S


def _held(connection: Connection, run_id: int) -> AnyRow:
    row = connection.execute(select(run).where(run.c.id == run_id).with_for_update()).first()
    if row is None:
        raise NotFound(f"There is no run {run_id}.")
    return row


def _give(connection: Connection, claim: RunClaim, **values: Any) -> None:
    changed = connection.execute(
        update(run)
        .where(run.c.id == claim.id, run.c.token == claim.token)
        .where(run.c.state == RunState.RUNNING)
        .values(values)
    )
    if changed.rowcount != 1:
        raise LostClaim(f"Run {claim.id} is no longer held under token {claim.token}.")


def _after_death(row: AnyRow, now: float) -> dict[str, Any]:
    if row.cancelled_by is not None:
        return {"state": RunState.CANCELLED, "ended_at": now, **NO_CLAIM}
    if row.attempts >= MAX_ATTEMPTS:
        return {"state": RunState.FAILED, "ended_at": now, "reason": DIED, **NO_CLAIM}
    wait_s = RETRY_S[min(row.attempts, len(RETRY_S)) - 1]
    return {"state": RunState.WAITING, "not_before": now + wait_s, **NO_CLAIM}
