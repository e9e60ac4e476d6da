"""What the network looked at, per result: for heat maps, at report time and later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; results from before have no maps."""
    op.create_table(
        "attention",
        sa.Column("result_id", sa.Integer, nullable=False),
        sa.Column("maps", sa.LargeBinary, nullable=False),
        sa.Column("grid", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("columns", sa.Integer, nullable=False),
        sa.Column("top", sa.Double, nullable=False),
        sa.Column("left", sa.Double, nullable=False),
        sa.Column("scale", sa.Double, nullable=False),
        sa.Column("side", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("result_id", name=op.f("pk_attention")),
        sa.ForeignKeyConstraint(
            ["result_id"],
            ["result.id"],
            name=op.f("fk_attention_result_id"),
            ondelete="CASCADE",
        ),
    )
