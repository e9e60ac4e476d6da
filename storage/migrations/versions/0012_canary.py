"""The canary, and the volume that is expected."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

KINDS = ("backup", "recalibrate", "retrain", "evaluate", "drift", "canary")


def upgrade() -> None:
    """Make the tables, and let a schedule and a run be of the new kind."""
    _new_kind()
    _canary()
    op.create_table(
        "arrival_hour",
        sa.Column("hour", sa.Integer, nullable=False),
        sa.Column("station", sa.String(64), nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("last_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("hour", "station", name=op.f("pk_arrival_hour")),
    )
    op.create_table(
        "watched_hour",
        sa.Column("hour", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("hour", name=op.f("pk_watched_hour")),
    )
    op.create_table(
        "arrival_watch",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("looked_at", sa.Double, nullable=False),
        sa.Column("counted_from", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_arrival_watch")),
    )


def _canary() -> None:
    op.create_table(
        "canary",
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("run_id", sa.Integer, nullable=False),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("study_instance_uid", name=op.f("pk_canary")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_canary_run_id")),
    )
    op.create_table(
        "canary_score",
        sa.Column("bundle", sa.String(64), nullable=False),
        sa.Column("image", sa.String(64), nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("known_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("bundle", "image", "finding", name=op.f("pk_canary_score")),
        sa.CheckConstraint(
            sa.column("probability", sa.Double).between(0, 1),
            name=op.f("ck_canary_score_probability"),
        ),
    )


def _new_kind() -> None:
    among = sa.column("kind", sa.String).in_(KINDS)
    for name in ("schedule", "run"):
        with op.batch_alter_table(name) as table:
            table.drop_constraint(op.f(f"ck_{name}_kind"), type_="check")
            table.create_check_constraint(op.f(f"ck_{name}_kind"), among)
