"""Schedules, runs, the hold-out, and labels of reports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

KINDS = ("backup", "recalibrate", "retrain", "evaluate")
STATES = ("waiting", "running", "done", "refused", "failed", "cancelled")


def upgrade() -> None:
    """Make the tables."""
    _schedule()
    _run()
    _holdout()
    op.create_table(
        "report_label",
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("imported_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("study_id", "finding", name=op.f("pk_report_label")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_report_label_study_id")),
    )


def _schedule() -> None:
    either = sa.or_(
        sa.column("cron").is_(None) & sa.column("every_s").is_not(None),
        sa.column("cron").is_not(None) & sa.column("every_s").is_(None),
    )
    op.create_table(
        "schedule",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        _states("kind", "schedule", *KINDS),
        sa.Column("cron", sa.String(128)),
        sa.Column("every_s", sa.Double),
        sa.Column("timezone", sa.String(64), nullable=False),
        sa.Column("window_start", sa.Integer),
        sa.Column("window_end", sa.Integer),
        sa.Column("seen_until", sa.Double, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("removed_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule")),
        sa.CheckConstraint(either, name=op.f("ck_schedule_timing")),
    )
    in_force = sa.column("removed_at", sa.Double).is_(None)
    op.create_index(
        "uq_schedule_name", "schedule", ["name"], unique=True,
        sqlite_where=in_force, postgresql_where=in_force,
    )  # fmt: skip


def _run() -> None:
    held, free = sa.column("lease_until").is_not(None), sa.column("lease_until").is_(None)
    state = sa.column("state", sa.String)
    rule = sa.or_((state == "running") & held, (state != "running") & free)
    op.create_table(
        "run",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("schedule_id", sa.Integer),
        _states("kind", "run", *KINDS),
        _states("state", "run", *STATES),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("missed", sa.Integer, nullable=False),
        sa.Column("requested_by", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(128)),
        sa.Column("lease_until", sa.Double),
        sa.Column("cancelled_by", sa.String(128)),
        sa.Column("stage", sa.String(64), nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(1000)),
        sa.Column("outcome", sa.Text),
        sa.Column("candidate", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.ForeignKeyConstraint(["schedule_id"], ["schedule.id"], name=op.f("fk_run_schedule_id")),
        sa.UniqueConstraint("schedule_id", "due_at", name=op.f("uq_run_schedule_id_due_at")),
        sa.CheckConstraint(rule, name=op.f("ck_run_lease")),
    )
    op.create_index(op.f("ix_run_state_due_at"), "run", ["state", "due_at"])
    op.create_index(op.f("ix_run_candidate"), "run", ["candidate"])


def _holdout() -> None:
    op.create_table(
        "holdout_draw",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holdout_draw")),
    )
    both = sa.column("held_out", sa.Boolean) & sa.column("trained_at").is_not(None)
    op.create_table(
        "holdout_patient",
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("draw_id", sa.Integer, nullable=False),
        sa.Column("held_out", sa.Boolean, nullable=False),
        sa.Column("drawn_at", sa.Double, nullable=False),
        sa.Column("trained_at", sa.Double),
        sa.PrimaryKeyConstraint("patient", name=op.f("pk_holdout_patient")),
        sa.ForeignKeyConstraint(
            ["draw_id"], ["holdout_draw.id"], name=op.f("fk_holdout_patient_draw_id")
        ),
        sa.CheckConstraint(~both, name=op.f("ck_holdout_patient_untrained")),
    )
    op.create_index(op.f("ix_holdout_patient_held_out"), "holdout_patient", ["held_out"])


def _states(column: str, table: str, *states: str) -> sa.Column[str]:
    kind = sa.Enum(
        *states, name=op.f(f"ck_{table}_{column}"),
        native_enum=False, create_constraint=True, length=16,
    )  # fmt: skip
    return sa.Column(column, kind, nullable=False)
