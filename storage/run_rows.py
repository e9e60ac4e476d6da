"""Rows of schedules and runs, read."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Select, select

from storage.results import AnyRow
from storage.schedule_records import Run, RunId, RunKind, RunState, Timing, Window
from storage.schema import run, schedule


def run_rows() -> Select[Any]:
    """Select what `to_run` reads."""
    timing = (schedule.c.cron, schedule.c.every_s, schedule.c.timezone,
              schedule.c.window_start, schedule.c.window_end)  # fmt: skip
    return select(run, schedule.c.name.label("schedule"), *timing).outerjoin(
        schedule, run.c.schedule_id == schedule.c.id
    )


def to_timing(row: AnyRow) -> Timing:
    """Read the columns of a schedule."""
    set_ = row.window_start is not None
    window = Window(row.window_start, row.window_end) if set_ else None
    return Timing(row.cron, row.every_s, row.timezone, window)


def to_run(row: AnyRow) -> Run:
    """Read `run_rows`."""
    return Run(
        id=RunId(row.id),
        schedule_id=row.schedule_id,
        schedule=row.schedule,
        kind=RunKind(row.kind),
        state=RunState(row.state),
        due_at=row.due_at,
        not_before=row.not_before,
        missed=row.missed,
        requested_by=row.requested_by,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempts=row.attempts,
        owner=row.owner,
        lease_until=row.lease_until,
        cancelled_by=row.cancelled_by,
        stage=row.stage,
        done=row.done,
        total=row.total,
        reason=row.reason,
        outcome=None if row.outcome is None else json.loads(row.outcome),
        candidate=row.candidate,
        timing=None if row.schedule_id is None else to_timing(row),
    )
