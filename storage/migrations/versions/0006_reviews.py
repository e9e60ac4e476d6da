"""Reviews, and the labels that come of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, then have a report name the review that it was made for."""
    _reviews()
    _answers()
    _labels()
    with op.batch_alter_table("report") as table:
        table.drop_constraint(op.f("uq_report_study_id_revision"), type_="unique")
        table.add_column(sa.Column("review_id", sa.Integer))
        table.create_foreign_key(op.f("fk_report_review_id"), "review", ["review_id"], ["id"])
        table.create_unique_constraint(op.f("uq_report_review_id"), ["review_id"])
    of_results = sa.column("review_id", sa.Integer).is_(None)
    op.create_index(
        "uq_report_results", "report", ["study_id", "revision"], unique=True,
        sqlite_where=of_results, postgresql_where=of_results,
    )  # fmt: skip


def _states(table: str, name: str, *values: str) -> sa.Column[str]:
    kind = sa.Enum(
        *values, name=op.f(f"ck_{table}_{name}"),
        native_enum=False, create_constraint=True, length=16,
    )  # fmt: skip
    return sa.Column(name, kind, nullable=False)


def _reviews() -> None:
    op.create_table(
        "review",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        _states("review", "kind", "first_read", "review"),
        _states("review", "state", "pending", "undone", "effective", "reported"),
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("login", sa.String(64), nullable=False),
        sa.Column("person_name", sa.String(324), nullable=False),
        sa.Column("organization", sa.String(64), nullable=False),
        sa.Column("seen_version", sa.Integer, nullable=False),
        sa.Column("seen_revision", sa.Integer, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("effective_at", sa.Double, nullable=False),
        sa.Column("undone_at", sa.Double),
        sa.Column("version", sa.Integer),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_review_study_id")),
    )
    op.create_index(op.f("ix_review_state_effective_at"), "review", ["state", "effective_at"])
    op.create_index(
        op.f("ix_review_study_id_state_effective_at"),
        "review",
        ["study_id", "state", "effective_at"],
    )


def _answers() -> None:
    verdicts = ("agree", "disagree", "unsure", "added", "present", "absent")
    op.create_table(
        "review_answer",
        sa.Column("review_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("instance_id", sa.Integer, nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("code_value", sa.String(16), nullable=False),
        sa.Column("code_scheme", sa.String(16), nullable=False),
        sa.Column("code_meaning", sa.String(64), nullable=False),
        _states("review_answer", "verdict", *verdicts),
        sa.Column("present", sa.Boolean),
        sa.PrimaryKeyConstraint("review_id", "position", name=op.f("pk_review_answer")),
        sa.ForeignKeyConstraint(
            ["review_id"], ["review.id"], name=op.f("fk_review_answer_review_id")
        ),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_review_answer_instance_id")
        ),
        sa.UniqueConstraint(
            "review_id", "instance_id", "finding",
            name=op.f("uq_review_answer_review_id_instance_id_finding"),
        ),
    )  # fmt: skip
    op.create_index(op.f("ix_review_answer_instance_id"), "review_answer", ["instance_id"])


def _labels() -> None:
    op.create_table(
        "label",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("instance_id", sa.Integer, nullable=False),
        sa.Column("finding", sa.String(64), nullable=False),
        sa.Column("account", sa.Integer, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.Column("login", sa.String(64), nullable=False),
        sa.Column("review_id", sa.Integer, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("labelled_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_label_instance_id")
        ),
        sa.ForeignKeyConstraint(["review_id"], ["review.id"], name=op.f("fk_label_review_id")),
        sa.UniqueConstraint(
            "instance_id", "finding", "account",
            name=op.f("uq_label_instance_id_finding_account"),
        ),
    )  # fmt: skip
    op.create_index(op.f("ix_label_labelled_at"), "label", ["labelled_at"])
