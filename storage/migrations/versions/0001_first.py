"""The first schema: studies, instances, jobs, results, reports and deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    _studies_and_instances()
    _jobs()
    _results()
    _reports()


def _states(column: str, *states: str) -> sa.Enum:
    return sa.Enum(*states, name=column, native_enum=False, create_constraint=True, length=16)


def _lease(table: str, claimed: str) -> sa.CheckConstraint:
    held, free = sa.column("lease_until").is_not(None), sa.column("lease_until").is_(None)
    state = sa.column("state", sa.String)
    rule = sa.or_((state == claimed) & held, (state != claimed) & free)
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_lease"))


def _studies_and_instances() -> None:
    op.create_table(
        "study",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column(
            "state", _states("state", "due", "reporting", "reported", "quarantined"), nullable=False
        ),
        sa.Column("last_received_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("claimed_revision", sa.Integer),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(128)),
        sa.Column("lease_until", sa.Double),
        sa.Column("report_version", sa.Integer, nullable=False),
        sa.Column("reported_at", sa.Double),
        sa.Column("reason_code", sa.String(64)),
        sa.Column("reason", sa.String(1000)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_study_study_instance_uid")),
        _lease("study", "reporting"),
    )
    op.create_index(op.f("ix_study_state_due_at"), "study", ["state", "due_at"])
    op.create_table(
        "instance",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("calling_ae", sa.String(16), nullable=False),
        sa.Column("called_ae", sa.String(16), nullable=False),
        sa.Column("peer_address", sa.String(64), nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("contested", sa.Boolean, nullable=False),
        sa.Column("repeats", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instance")),
        sa.UniqueConstraint(
            "sop_instance_uid", "sha256", name=op.f("uq_instance_sop_instance_uid_sha256")
        ),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_instance_study_id")),
    )
    op.create_index(op.f("ix_instance_study_id"), "instance", ["study_id"])
    op.create_index(
        "uq_instance_first",
        "instance",
        ["sop_instance_uid"],
        unique=True,
        sqlite_where=~sa.column("contested", sa.Boolean),
        postgresql_where=~sa.column("contested", sa.Boolean),
    )


def _jobs() -> None:
    op.create_table(
        "job",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("instance_id", sa.Integer, nullable=False),
        sa.Column(
            "state", _states("state", "pending", "running", "done", "quarantined"), nullable=False
        ),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("not_before", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(128)),
        sa.Column("lease_until", sa.Double),
        sa.Column("reason_code", sa.String(64)),
        sa.Column("reason", sa.String(1000)),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.UniqueConstraint("instance_id", name=op.f("uq_job_instance_id")),
        sa.ForeignKeyConstraint(["instance_id"], ["instance.id"], name=op.f("fk_job_instance_id")),
        _lease("job", "running"),
    )
    op.create_index("ix_job_claim", "job", ["state", "received_at", "id", "not_before"])


def _results() -> None:
    op.create_table(
        "result",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("instance_id", sa.Integer, nullable=False),
        sa.Column("status", _states("status", "analysed", "not_analysed"), nullable=False),
        sa.Column("bundle", sa.String(128)),
        sa.Column("reason_code", sa.String(64)),
        sa.Column("reason", sa.String(1000)),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result")),
        sa.UniqueConstraint("instance_id", name=op.f("uq_result_instance_id")),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_result_instance_id")
        ),
    )
    op.create_table(
        "finding",
        sa.Column("result_id", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("code_value", sa.String(16), nullable=False),
        sa.Column("code_scheme", sa.String(16), nullable=False),
        sa.Column("code_meaning", sa.String(64), nullable=False),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("threshold", sa.Double, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("result_id", "position", name=op.f("pk_finding")),
        sa.ForeignKeyConstraint(
            ["result_id"], ["result.id"], name=op.f("fk_finding_result_id"), ondelete="CASCADE"
        ),
        sa.CheckConstraint(
            sa.column("probability").between(0, 1), name=op.f("ck_finding_probability")
        ),
    )


def _reports() -> None:
    op.create_table(
        "report",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("study_id", sa.Integer, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        sa.UniqueConstraint("study_id", "version", name=op.f("uq_report_study_id_version")),
        sa.UniqueConstraint("study_id", "revision", name=op.f("uq_report_study_id_revision")),
        sa.UniqueConstraint("sop_instance_uid", name=op.f("uq_report_sop_instance_uid")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_report_study_id")),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("report_id", sa.Integer, nullable=False),
        sa.Column("pacs", sa.String(64), nullable=False),
        sa.Column(
            "state", _states("state", "pending", "sending", "stored", "dead"), nullable=False
        ),
        sa.Column("next_attempt_at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("token", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(128)),
        sa.Column("lease_until", sa.Double),
        sa.Column("stored_at", sa.Double),
        sa.Column("last_status", sa.String(64)),
        sa.Column("last_error", sa.String(1000)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("report_id", "pacs", name=op.f("uq_delivery_report_id_pacs")),
        sa.ForeignKeyConstraint(["report_id"], ["report.id"], name=op.f("fk_delivery_report_id")),
        _lease("delivery", "sending"),
    )
    op.create_index("ix_delivery_claim", "delivery", ["state", "pacs", "next_attempt_at", "id"])
