"""Schedules: what is to run when, and that each due time has one run.

`storage.schedule_records.RunState` draws the states of a run; `storage.runs` leads it through them.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Select, insert, select, update

from storage.audit import Audit
from storage.database import Database, insert_or
from storage.errors import NotFound, Refused
from storage.people import Action
from storage.results import AnyRow
from storage.run_rows import to_timing
from storage.schedule_records import RunId, RunKind, RunState, Schedule, ScheduleId, Timing
from storage.schema import run, schedule

SCHEDULER = "scheduler"  # asks for what is due


@dataclass(frozen=True, slots=True)
class Due:
    """The last due time of those that have come, and how many came before it unseen."""

    at: float
    missed: int


class Schedules:
    """The schedules of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    def add(self, name: str, kind: RunKind, timing: Timing, actor: str, at: float) -> Schedule:
        """Add a schedule, due from now on. Raises Refused where the name is taken."""
        window = timing.window
        values = {
            "name": name, "kind": kind, "cron": timing.cron, "every_s": timing.every_s,
            "timezone": timing.timezone, "seen_until": at, "created_by": actor, "created_at": at,
            "window_start": None if window is None else window.start,
            "window_end": None if window is None else window.end,
        }  # fmt: skip
        with self._database.write() as connection:
            if connection.execute(_in_force().where(schedule.c.name == name)).first() is not None:
                raise Refused(f'There is a schedule "{name}" already; remove it first.')
            connection.execute(insert(schedule).values(**values))
            detail = {"kind": kind.value, "cron": timing.cron or "", "every_s": timing.every_s or 0}
            self._audit.append(actor, Action.SCHEDULE_ADDED, name, detail, at=at)
        return self.find(name)

    def remove(self, name: str, actor: str, at: float) -> None:
        """End a schedule and what waits of it; a run in work goes on. Raises NotFound."""
        with self._database.write() as connection:
            one = self.find(name)
            connection.execute(
                update(schedule).where(schedule.c.id == one.id).values(removed_at=at)
            )
            connection.execute(
                update(run)
                .where(run.c.schedule_id == one.id, run.c.state == RunState.WAITING)
                .values(state=RunState.CANCELLED, cancelled_by=actor, ended_at=at)
            )
            self._audit.append(actor, Action.SCHEDULE_REMOVED, name, at=at)

    def all(self) -> tuple[Schedule, ...]:
        """Return the schedules by name."""
        with self._database.read() as connection:
            rows = connection.execute(_in_force().order_by(schedule.c.name))
            return tuple(map(_to_schedule, rows))

    def find(self, name: str) -> Schedule:
        """Return a schedule. Raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(_in_force().where(schedule.c.name == name)).first()
        if row is None:
            known = ", ".join(one.name for one in self.all()) or "none"
            raise NotFound(f'There is no schedule "{name}". There are: {known}.')
        return _to_schedule(row)

    def see(self, one: Schedule, until: float, due: Due | None, now: float) -> RunId | None:
        """Note that a schedule was looked at until then, and make the run of what was due.

        Whoever notes it first makes the run; another process, or host, makes none. While a run of
        the schedule waits to start, no second one joins it: it stands for both.
        """
        with self._database.write() as connection:
            seen = connection.execute(
                update(schedule)
                .where(schedule.c.id == one.id, schedule.c.removed_at.is_(None))
                .where(schedule.c.seen_until == one.seen_until)
                .values(seen_until=until)
            )
            if seen.rowcount != 1 or due is None:
                return None
            waits = connection.execute(
                select(run.c.id)
                .where(run.c.schedule_id == one.id, run.c.state == RunState.WAITING)
                .with_for_update()
            ).first()
            if waits is not None:
                more = run.c.missed + due.missed + 1
                connection.execute(update(run).where(run.c.id == waits.id).values(missed=more))
                return None
            new = insert_or(connection, run).values(
                schedule_id=one.id, kind=one.kind, due_at=due.at, missed=due.missed,
                not_before=0.0, requested_by=SCHEDULER, created_at=now, **FRESH,
            )  # fmt: skip
            made = connection.execute(new.on_conflict_do_nothing().returning(run.c.id)).first()
            return None if made is None else RunId(made.id)

    def run_now(self, named: str, actor: str, now: float) -> RunId:
        """Ask for a run outside every window: of a schedule, or of a kind. Raises NotFound."""
        found = [one for one in self.all() if one.name == named]
        if not found and named not in list(RunKind):
            kinds = ", ".join(RunKind)
            names = ", ".join(one.name for one in self.all()) or "none"
            raise NotFound(
                f'"{named}" is neither a schedule nor a kind. Schedules: {names}. Kinds: {kinds}.'
            )
        kind = found[0].kind if found else RunKind(named)
        with self._database.write() as connection:
            made = connection.execute(
                insert(run)
                .values(
                    schedule_id=None, kind=kind, due_at=now, missed=0, not_before=0.0,
                    requested_by=actor, created_at=now, **FRESH,
                )
                .returning(run.c.id)
            ).scalar_one()  # fmt: skip
            self._audit.append(actor, Action.RUN_REQUESTED, f"run {made}", {"kind": kind}, at=now)
        return RunId(made)


FRESH = {
    "state": RunState.WAITING, "attempts": 0, "token": 0, "stage": "", "done": 0, "total": 0,
}  # fmt: skip


def _in_force() -> Select[tuple[object, ...]]:
    return select(schedule).where(schedule.c.removed_at.is_(None))


def _to_schedule(row: AnyRow) -> Schedule:
    return Schedule(
        id=ScheduleId(row.id),
        name=row.name,
        kind=RunKind(row.kind),
        timing=to_timing(row),
        seen_until=row.seen_until,
        created_by=row.created_by,
        created_at=row.created_at,
    )
