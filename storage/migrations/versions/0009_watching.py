"""What the service watches, and alarms."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


KINDS = ("backup", "recalibrate", "retrain", "evaluate", "drift")


def upgrade() -> None:
    """Make the tables; results keep what is watched, and runs may audit the drift."""
    _alarm()
    _watch()
    # SQLite writes an added column on another's line; PostgreSQL cannot rebuild what is referred to
    sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("result", recreate="always" if sqlite else "never") as table:
        table.add_column(sa.Column("measures", sa.Text))
    with op.batch_alter_table("finding") as table:
        table.add_column(_states("finding", "doubt", "marked", "stopped", nullable=True))
    _kinds()


def _kinds() -> None:
    for name in ("schedule", "run"):
        with op.batch_alter_table(name) as table:
            table.drop_constraint(op.f(f"ck_{name}_kind"), type_="check")
            among = sa.column("kind", sa.String).in_(KINDS)
            table.create_check_constraint(op.f(f"ck_{name}_kind"), among)


def _watch() -> None:
    op.create_table(
        "doubt",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("doubted", sa.Boolean, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_doubt")),
    )
    op.create_index(op.f("ix_doubt_digest_finding"), "doubt", ["digest", "finding"])
    op.create_table(
        "station_watch",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("station", sa.String(64), nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("quiet", sa.Integer, nullable=False),
        sa.Column("charts", sa.Text, nullable=False),
        sa.Column("left", sa.Text, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("reference_by", sa.String(128)),
        sa.Column("reference_at", sa.Double),
        sa.Column("accepted_by", sa.String(128)),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("digest", "station", name=op.f("pk_station_watch")),
    )
    op.create_table(
        "watch_note",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_watch_note")),
    )


def _alarm() -> None:
    state, closed_at = sa.column("state", sa.String), sa.column("closed_at", sa.Double)
    op.create_table(
        "alarm",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("station", sa.String(64)),
        sa.Column("finding", sa.String(64)),
        _states("alarm", "state", "open", "acknowledged", "closed"),
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


def _states(table: str, column: str, *states: str, nullable: bool = False) -> sa.Column[str]:
    kind = sa.Enum(
        *states, name=op.f(f"ck_{table}_{column}"),
        native_enum=False, create_constraint=True, length=16,
    )  # fmt: skip
    return sa.Column(column, kind, nullable=nullable)
