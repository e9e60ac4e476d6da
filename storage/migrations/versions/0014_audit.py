"""How far the audit trail was checked, and sent to a collector."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table of marks."""
    op.create_table(
        "audit_mark",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("row_id", sa.Integer, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("broken", sa.Integer),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_audit_mark")),
    )
