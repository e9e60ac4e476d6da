"""Delivery: objects beside a report, the form that was sent, commitment, what a PACS takes; and
what retention has deleted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATES = ("pending", "sending", "stored", "committing", "committed", "not_taken", "dead")


def upgrade() -> None:
    """Make the tables, then rebuild those that refer to them."""
    _companions()
    _commitments()
    op.create_table(
        "peer",
        sa.Column("pacs", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("accepted", sa.Text, nullable=False),
        sa.Column("learnt_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("pacs", name=op.f("pk_peer")),
    )
    with op.batch_alter_table("instance") as table:
        table.add_column(_removal("instance"))
        table.create_index(op.f("ix_instance_removal_received_at"), ["removal", "received_at"])
    _deliveries()


def _removal(table: str) -> sa.Column[str]:
    states = sa.Enum(
        "deleting", "deleted", name=op.f(f"ck_{table}_removal"),
        native_enum=False, create_constraint=True, length=16,
    )  # fmt: skip
    return sa.Column("removal", states)


def _companions() -> None:
    op.create_table(
        "companion",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("report_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        _removal("companion"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_companion")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_companion_report_id")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_companion_sop_instance_uid")),
        sa.UniqueConstraint("report_id", "position", name=op.f("uq_companion_report_id_position")),
    )
    op.create_index(op.f("ix_companion_removal_created_at"), "companion", ["removal", "created_at"])


def _commitments() -> None:
    op.create_table(
        "commitment",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("transaction_uid", sa.String(64), nullable=False),
        sa.Column("pacs", sa.String(64), nullable=False),
        sa.Column("asked_at", sa.Double, nullable=False),
        sa.Column("answered_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commitment")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_commitment_transaction_uid")),
    )


def _deliveries() -> None:
    op.drop_index("ix_delivery_claim", "delivery")
    with op.batch_alter_table("delivery", copy_from=_delivery_before()) as table:
        table.drop_constraint(op.f("ck_delivery_state"), type_="check")
        table.drop_constraint(op.f("uq_delivery_report_id_pacs"), type_="unique")
        table.add_column(sa.Column("companion_id", sa.Integer))
        table.add_column(sa.Column("sent_class_uid", sa.String(64)))
        table.add_column(sa.Column("sent_uid", sa.String(64)))
        table.add_column(sa.Column("commitment_id", sa.Integer))
        table.add_column(sa.Column("resent", sa.Integer, nullable=False, server_default="0"))
        table.create_check_constraint(op.f("ck_delivery_state"), sa.column("state").in_(STATES))
        table.create_foreign_key(
            op.f("fk_delivery_companion_id"), "companion", ["companion_id"], ["id"]
        )
        table.create_foreign_key(
            op.f("fk_delivery_commitment_id"), "commitment", ["commitment_id"], ["id"]
        )
        table.create_unique_constraint(
            op.f("uq_delivery_companion_id_pacs"), ["companion_id", "pacs"]
        )
    op.create_index("ix_delivery_claim", "delivery", ["state", "pacs", "next_attempt_at", "id"])
    op.create_index(op.f("ix_delivery_report_id_pacs"), "delivery", ["report_id", "pacs"])
    op.create_index(op.f("ix_delivery_commitment_id"), "delivery", ["commitment_id"])
    op.create_index(op.f("ix_delivery_sent_uid_pacs"), "delivery", ["sent_uid", "pacs"])
    of_report = sa.column("companion_id", sa.Integer).is_(None)
    op.create_index(
        "uq_delivery_report", "delivery", ["report_id", "pacs"], unique=True,
        sqlite_where=of_report, postgresql_where=of_report,
    )  # fmt: skip


def _delivery_before() -> sa.Table:
    """The table as 0001 made it: SQLite, which cannot alter one, copies from this."""
    held, free = sa.column("lease_until").is_not(None), sa.column("lease_until").is_(None)
    state = sa.column("state", sa.String)
    lease = sa.or_((state == "sending") & held, (state != "sending") & free)
    return sa.Table(
        "delivery",
        sa.MetaData(),
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("report_id", sa.Integer, nullable=False),
        sa.Column("pacs", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("next_attempt_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(128)),
        sa.Column("lease_until", sa.Double),
        sa.Column("stored_at", sa.Double),
        sa.Column("last_status", sa.String(64)),
        sa.Column("last_error", sa.String(1000)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_delivery_report_id")),
        sa.UniqueConstraint("report_id", "pacs", name=op.f("uq_delivery_report_id_pacs")),
        sa.CheckConstraint(state.in_(["pending"]), name=op.f("ck_delivery_state")),
        sa.CheckConstraint(lease, name=op.f("ck_delivery_lease")),
    )
