"""Candidates that classify beside the serving bundle."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    states = ("open", "ended", "promoted", "refused", "stopped", "failed")
    op.create_table(
        "trial",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        sa.Column("against_id", sa.Integer, nullable=False),
        sa.Column("promotion", sa.Integer, nullable=False),
        sa.Column("threshold", sa.Integer, nullable=False),
        sa.Column("after_result", sa.Integer, nullable=False),
        _states("trial", *states),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("started_by", sa.String(128), nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("ended_by", sa.String(128)),
        sa.Column("ended_at", sa.Double),
        sa.Column("reason", sa.String(1000)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_trial_model_id")),
        sa.ForeignKeyConstraint(["against_id"], ["model.id"], name=op.f("fk_trial_against_id")),
        sa.CheckConstraint(sa.column("images", sa.Integer) > 0, name=op.f("ck_trial_images")),
    )
    op.create_index(op.f("ix_trial_model_id"), "trial", ["model_id"])
    is_open = sa.text("state = 'open'")
    op.create_index(
        op.f("uq_trial_open"), "trial", ["state"], unique=True,
        sqlite_where=is_open, postgresql_where=is_open,
    )  # fmt: skip
    op.create_table(
        "shadow",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("trial_id", sa.Integer, nullable=False),
        sa.Column("instance_id", sa.Integer, nullable=False),
        _states("shadow", "running", "analysed", "not_analysed", "failed"),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(1000)),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadow")),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name=op.f("fk_shadow_trial_id")),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_shadow_instance_id")
        ),
        sa.UniqueConstraint("trial_id", "instance_id", name=op.f("uq_shadow_trial_id_instance_id")),
    )
    op.create_index(op.f("ix_shadow_instance_id"), "shadow", ["instance_id"])
    op.create_table(
        "shadow_finding",
        sa.Column("shadow_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("serving_probability", sa.Double, nullable=False),
        sa.Column("serving_threshold", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("shadow_id", "position", name=op.f("pk_shadow_finding")),
        sa.ForeignKeyConstraint(
            ["shadow_id"], ["shadow.id"], name=op.f("fk_shadow_finding_shadow_id")
        ),
    )


def _states(table: str, *states: str) -> sa.Column[str]:
    kind = sa.Enum(
        *states, name=op.f(f"ck_{table}_state"),
        native_enum=False, create_constraint=True, length=16,
    )  # fmt: skip
    return sa.Column("state", kind, nullable=False)
