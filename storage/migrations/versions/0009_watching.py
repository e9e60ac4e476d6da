"""What the service watches, and alarms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    state, closed_at = sa.column("state", sa.String), sa.column("closed_at")
    op.create_table(
        "alarm",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("station", sa.String(64)),
        sa.Column("finding", sa.String(64)),
        sa.Column(
            "state",
            sa.Enum(
                "open", "acknowledged", "closed",
                name=op.f("ck_alarm_state"), native_enum=False, create_constraint=True, length=16,
            ),
            nullable=False,
        ),
        sa.Column("opened_at", sa.Double, nullable=False),
        sa.Column("last_seen_at", sa.Double, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("acknowledged_by", sa.String(128)),
        sa.Column("acknowledged_at", sa.Double),
        sa.Column("closed_at", sa.Double),
        sa.Column("closed_by", sa.String(128)),
        sa.Column("closed_because", sa.String(1000)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
        sa.CheckConstraint(
            ((state == "closed") & closed_at.is_not(None))
            | ((state != "closed") & closed_at.is_(None)),
            name=op.f("ck_alarm_closed"),
        ),
    )  # fmt: skip
    op.create_index(op.f("ix_alarm_last_seen_at"), "alarm", ["last_seen_at"])
    is_open = sa.column("closed_at", sa.Double).is_(None)
    op.create_index(
        "uq_alarm_open", "alarm", ["kind", "subject"], unique=True,
        sqlite_where=is_open, postgresql_where=is_open,
    )  # fmt: skip
