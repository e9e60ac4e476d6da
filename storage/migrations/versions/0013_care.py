"""Care of the database: runs may check it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

KINDS = ("backup", "recalibrate", "retrain", "evaluate", "check")
STATES = ("waiting", "running", "done", "refused", "failed", "cancelled")


def upgrade() -> None:
    """Allow runs of one more kind. SQLite copies the table, without its checks: they are named."""
    held, free = sa.column("lease_until").is_not(None), sa.column("lease_until").is_(None)
    cron, every_s = sa.column("cron", sa.String), sa.column("every_s", sa.Double)
    state, kind = sa.column("state", sa.String), sa.column("kind", sa.String)
    checks = {
        "schedule": {
            "kind": kind.in_(KINDS),
            "timing": (cron.is_(None) & every_s.is_not(None))
            | (cron.is_not(None) & every_s.is_(None)),
        },
        "run": {
            "kind": kind.in_(KINDS),
            "state": state.in_(STATES),
            "lease": ((state == "running") & held) | ((state != "running") & free),
        },
    }
    copies = op.get_bind().dialect.name == "sqlite"
    for name, rules in checks.items():
        with op.batch_alter_table(name) as table:
            if not copies:
                table.drop_constraint(op.f(f"ck_{name}_kind"), type_="check")
            for rule, condition in rules.items():
                if copies or rule == "kind":
                    table.create_check_constraint(op.f(f"ck_{name}_{rule}"), condition)
