"""Care of the database, which runs may check; and who was not let in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


KINDS = ("backup", "recalibrate", "retrain", "evaluate", "drift", "canary", "check")


def upgrade() -> None:
    """Make the table, and let a schedule and a run be of the new kind."""
    _new_kind()
    op.create_table(
        "turned_away",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("calling_ae", sa.String(16), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(128), nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("first_at", sa.Double, nullable=False),
        sa.Column("last_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_turned_away")),
        sa.UniqueConstraint(
            "calling_ae", "address", "reason", name=op.f("uq_turned_away_calling_ae_address_reason")
        ),
    )


def _new_kind() -> None:
    among = sa.column("kind", sa.String).in_(KINDS)
    for name in ("schedule", "run"):
        with op.batch_alter_table(name) as table:
            table.drop_constraint(op.f(f"ck_{name}_kind"), type_="check")
            table.create_check_constraint(op.f(f"ck_{name}_kind"), among)
