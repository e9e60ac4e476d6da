"""Bundles, promotions and thresholds; results are found by their time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "model",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("folder", sa.String(255), nullable=False),
        sa.Column("card", sa.Text, nullable=False),
        sa.Column("thresholds", sa.Text, nullable=False),
        sa.Column("registered_at", sa.Double, nullable=False),
        _states("state", "model", "registered", "refused"),
        sa.Column("reason", sa.String(1000)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model")),
        sa.UniqueConstraint("version", name=op.f("uq_model_version")),
        sa.UniqueConstraint("digest", name=op.f("uq_model_digest")),
    )
    op.create_table(
        "promotion",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("model_id", sa.Integer, nullable=False),
        _states("deed", "promotion", "configured", "promoted", "rolled_back", "refused"),
        sa.Column("back_to", sa.Integer),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_promotion_model_id")),
        sa.ForeignKeyConstraint(["back_to"], ["promotion.id"], name=op.f("fk_promotion_back_to")),
    )
    op.create_table(
        "threshold",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("value", sa.Double),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_threshold")),
        sa.CheckConstraint(
            sa.column("value", sa.Double).between(0, 1), name=op.f("ck_threshold_value")
        ),
    )
    op.create_index(op.f("ix_threshold_digest_finding"), "threshold", ["digest", "finding"])
    op.create_table(
        "worker",
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("engine", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("loaded_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_worker")),
    )
    op.create_index(op.f("ix_result_created_at"), "result", ["created_at"])


def _states(column: str, table: str, *states: str) -> sa.Column[str]:
    kind = sa.Enum(
        *states, name=op.f(f"ck_{table}_{column}"),
        native_enum=False, create_constraint=True, length=16,
    )  # fmt: skip
    return sa.Column(column, kind, nullable=False)
