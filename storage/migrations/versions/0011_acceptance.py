"""Acceptance tests of a site."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATES = ("open", "closed")


def upgrade() -> None:
    """Make the tables."""
    _test()
    _of_test(
        "acceptance_reader",
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("login", sa.String(64), nullable=False),
        sa.Column("name", sa.String(324), nullable=False),
        key=("account",),
    )
    _index("acceptance_reader", "account")
    _of_test(
        "acceptance_case",
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("patient", sa.String(64), nullable=False),
        sa.Column("weight", sa.Double, nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("groups", sa.Text, nullable=False),
        key=("study_id",),
    )
    _index("acceptance_case", "study_id")
    _index("acceptance_case", "patient")
    _of_test(
        "acceptance_decision",
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        key=("study_id", "finding"),
    )
    _of_test(
        "acceptance_report",
        sa.Column("figures", sa.Text, nullable=False),
        sa.Column("pictures", sa.Text, nullable=False),
        sa.Column("page", sa.Text, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
    )


def _test() -> None:
    state = sa.Enum(
        *STATES, name=op.f("ck_acceptance_test_state"),
        native_enum=False, create_constraint=True, length=16,
    )  # fmt: skip
    closed = (sa.column("state", sa.String) == "closed") == sa.column("closed_at").is_not(None)
    op.create_table(
        "acceptance_test",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("state", state, nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        *(sa.Column(name, sa.Double, nullable=False)
          for name in ("half_width", "sensitivity", "specificity")),
        sa.Column("seed", sa.String(64), nullable=False),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("thresholds", sa.Text, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("drawn_at", sa.Double, nullable=False),
        sa.Column("closed_by", sa.String(128)),
        sa.Column("close_reason", sa.String(1000)),
        sa.Column("closed_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_acceptance_test")),
        sa.UniqueConstraint("name", name=op.f("uq_acceptance_test_name")),
        sa.CheckConstraint(closed, name=op.f("ck_acceptance_test_closing")),
    )  # fmt: skip


def _of_test(name: str, *columns: sa.Column[object], key: tuple[str, ...] = ()) -> None:
    """Make a table of rows that belong to a test."""
    keys = [(["test_id"], ["acceptance_test.id"])]
    if name == "acceptance_case":
        keys.append((["study_id"], ["study.id"]))
    if name == "acceptance_decision":
        of_case = ["acceptance_case.test_id", "acceptance_case.study_id"]
        keys = [(["test_id", "study_id"], of_case)]
    op.create_table(
        name,
        sa.Column("test_id", sa.Integer, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("test_id", *key, name=op.f(f"pk_{name}")),
        *(
            sa.ForeignKeyConstraint(ours, theirs, name=op.f(f"fk_{name}_{ours[0]}"))
            for ours, theirs in keys
        ),
    )  # fmt: skip


def _index(table: str, column: str) -> None:
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column])
