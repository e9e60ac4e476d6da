"""Schedules, their runs, the hold-out, and labels of radiologists' reports.

A schedule that was removed keeps its row: its runs name it.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    column,
    or_,
)

from storage.schedule_records import RunKind, RunState
from storage.schema.base import FREE_TEXT, claim, metadata, state, time

schedule = Table(
    "schedule",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    state("kind", RunKind),
    Column("cron", String(128)),
    Column("every_s", Double),
    Column("timezone", String(64), nullable=False),
    Column("window_start", Integer),  # minutes after midnight
    Column("window_end", Integer),
    time("seen_until"),  # what was due until then has its run
    Column("created_by", String(128), nullable=False),
    time("created_at"),
    time("removed_at", nullable=True),
    CheckConstraint(
        or_(
            column("cron").is_(None) & column("every_s").is_not(None),
            column("cron").is_not(None) & column("every_s").is_(None),
        ),
        name="timing",
    ),
)
Index(
    "uq_schedule_name",
    schedule.c.name,
    unique=True,
    sqlite_where=schedule.c.removed_at.is_(None),
    postgresql_where=schedule.c.removed_at.is_(None),
)

# One for each due time, over all processes and hosts.
run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("schedule_id", ForeignKey("schedule.id")),  # none: asked for by hand
    state("kind", RunKind),
    state("state", RunState),
    time("due_at"),
    time("not_before"),
    Column("missed", Integer, nullable=False),
    Column("requested_by", String(128), nullable=False),
    time("created_at"),
    time("started_at", nullable=True),
    time("ended_at", nullable=True),
    *claim("running"),
    Column("cancelled_by", String(128)),
    Column("stage", String(64), nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("reason", String(FREE_TEXT)),
    Column("outcome", Text),  # JSON
    Column("candidate", String(64)),  # digest of the bundle that it made
    UniqueConstraint("schedule_id", "due_at"),
    Index(None, "state", "due_at"),
    Index(None, "candidate"),
)

# How the hold-out was drawn; the last row is in force.
holdout_draw = Table(
    "holdout_draw",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("share", Double, nullable=False),
    Column("salt", String(64), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("reason", String(FREE_TEXT), nullable=False),
    time("at"),
)

# Each patient who ever had a label, under a hash of his id.
holdout_patient = Table(
    "holdout_patient",
    metadata,
    Column("patient", String(64), primary_key=True),
    Column("draw_id", ForeignKey("holdout_draw.id"), nullable=False),
    Column("held_out", Boolean, nullable=False),
    time("drawn_at"),
    time("trained_at", nullable=True),  # since then a bundle may have learnt from him
    CheckConstraint(~(column("held_out", Boolean) & column("trained_at").is_not(None)),
                    name="untrained"),
    Index(None, "held_out"),
)  # fmt: skip

# What a radiologist's report says of a study, as it was imported.
report_label = Table(
    "report_label",
    metadata,
    Column("study_id", ForeignKey("study.id"), primary_key=True, autoincrement=False),
    Column("finding", String(64), primary_key=True),
    Column("present", Boolean, nullable=False),
    Column("actor", String(128), nullable=False),
    time("imported_at"),
)
