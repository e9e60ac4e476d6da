"""An image's way: study, instance, job, result, report, delivery.

Times are UNIX seconds, and no patient data stands here apart from UIDs.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    column,
)

from storage.records import DeliveryState, Doubt, JobState, Removal, ResultStatus, StudyState
from storage.schema.base import FREE_TEXT, claim, metadata, reason, state, time, uid

study = Table(
    "study",
    metadata,
    Column("id", Integer, primary_key=True),
    uid("study_instance_uid"),
    state("state", StudyState),
    time("last_received_at"),
    time("due_at"),
    # Counts the results that came or changed. A report names the one it was built at, so that
    # no second report can be made of the same results.
    Column("revision", Integer, nullable=False),
    Column("claimed_revision", Integer),
    *claim("reporting"),
    Column("report_version", Integer, nullable=False),
    time("reported_at", nullable=True),
    *reason(),
    UniqueConstraint("study_instance_uid"),
    Index(None, "state", "due_at"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Integer, primary_key=True),
    uid("sop_instance_uid"),
    uid("sop_class_uid"),
    uid("transfer_syntax_uid"),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("peer_address", String(64), nullable=False),
    time("received_at"),
    Column("contested", Boolean, nullable=False),  # came under a UID that had other bytes
    Column("repeats", Integer, nullable=False),
    Column("study_id", ForeignKey("study.id")),  # unknown until the dataset has been read
    state("removal", Removal, nullable=True),
    UniqueConstraint("sop_instance_uid", "sha256"),
    Index(None, "study_id"),
    Index(None, "removal", "received_at"),
)
Index(
    "uq_instance_first",
    instance.c.sop_instance_uid,
    unique=True,
    sqlite_where=~instance.c.contested,
    postgresql_where=~instance.c.contested,
)

job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instance.id"), nullable=False),
    state("state", JobState),
    time("received_at"),  # the instance's, here for the index
    time("not_before"),  # 0: at once, whatever the clock says
    *claim("running"),
    *reason(),
    time("changed_at"),
    UniqueConstraint("instance_id"),
    Index("ix_job_claim", "state", "received_at", "id", "not_before"),
)

result = Table(
    "result",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instance.id"), nullable=False),
    state("status", ResultStatus),
    Column("bundle", String(128)),
    *reason(),
    time("created_at"),
    Column("measures", Text),  # JSON: what is watched of the image
    UniqueConstraint("instance_id"),
    Index(None, "created_at"),
)

finding = Table(
    "finding",
    metadata,
    Column("result_id", ForeignKey("result.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("code_value", String(16), nullable=False),
    Column("code_scheme", String(16), nullable=False),
    Column("code_meaning", String(64), nullable=False),
    Column("probability", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("present", Boolean, nullable=False),
    state("doubt", Doubt, nullable=True),
    CheckConstraint(column("probability").between(0, 1), name="probability"),
)

# Beside `result`, so that who reads results reads no maps.
attention = Table(
    "attention",
    metadata,
    Column("result_id", ForeignKey("result.id", ondelete="CASCADE"), primary_key=True),
    Column("maps", LargeBinary, nullable=False),
    Column("grid", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("columns", Integer, nullable=False),
    Column("top", Double, nullable=False),
    Column("left", Double, nullable=False),
    Column("scale", Double, nullable=False),
    Column("side", Integer, nullable=False),
)

report = Table(
    "report",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),  # of the study: which results it shows
    # The review that it was made for; none: it was made of results. Of both there is one.
    Column("review_id", ForeignKey("review.id")),
    uid("sop_instance_uid"),
    uid("sop_class_uid"),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    time("created_at"),
    UniqueConstraint("study_id", "version"),
    UniqueConstraint("sop_instance_uid"),
    UniqueConstraint("review_id"),
)
Index(
    "uq_report_results",
    report.c.study_id,
    report.c.revision,
    unique=True,
    sqlite_where=report.c.review_id.is_(None),
    postgresql_where=report.c.review_id.is_(None),
)

# An object beside a report. Its UID comes of what it shows, so that a later version of the report
# that needs the same one finds it here, delivered.
companion = Table(
    "companion",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("report_id", ForeignKey("report.id"), nullable=False),  # the first that needed it
    Column("position", Integer, nullable=False),
    uid("sop_instance_uid"),
    uid("sop_class_uid"),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    time("created_at"),
    state("removal", Removal, nullable=True),
    UniqueConstraint("sop_instance_uid"),
    UniqueConstraint("report_id", "position"),
    Index(None, "removal", "created_at"),
)

# A request for storage commitment. It is kept when it is answered: a PACS may report twice.
commitment = Table(
    "commitment",
    metadata,
    Column("id", Integer, primary_key=True),
    uid("transaction_uid"),
    Column("pacs", String(64), nullable=False),
    time("asked_at"),
    time("answered_at", nullable=True),
    UniqueConstraint("transaction_uid"),
)

peer = Table(
    "peer",
    metadata,
    Column("pacs", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("accepted", Text, nullable=False),  # JSON: SOP class UID to transfer syntax UID
    time("learnt_at"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("report_id", ForeignKey("report.id"), nullable=False),
    Column("pacs", String(64), nullable=False),
    state("state", DeliveryState),
    time("next_attempt_at"),
    *claim("sending"),
    time("stored_at", nullable=True),
    Column("last_status", String(64)),
    Column("last_error", String(FREE_TEXT)),
    Column("companion_id", ForeignKey("companion.id")),  # none: the report itself
    Column("sent_class_uid", String(64)),
    Column("sent_uid", String(64)),
    Column("commitment_id", ForeignKey("commitment.id")),  # the last that it was asked in
    Column("resent", Integer, nullable=False, server_default="0"),  # after failed commitments
    UniqueConstraint("companion_id", "pacs"),
    Index("ix_delivery_claim", "state", "pacs", "next_attempt_at", "id"),
    Index(None, "report_id", "pacs"),
    Index(None, "sent_uid", "pacs"),
    Index(None, "commitment_id"),
)
Index(
    "uq_delivery_report",
    delivery.c.report_id,
    delivery.c.pacs,
    unique=True,
    sqlite_where=delivery.c.companion_id.is_(None),
    postgresql_where=delivery.c.companion_id.is_(None),
)
