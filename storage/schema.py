"""The tables. Times are UNIX seconds, and no patient data stands here apart from UIDs.

Any change needs a migration; a test compares the two.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    column,
    or_,
)

from storage.records import DeliveryState, JobState, Removal, ResultStatus, StudyState

FREE_TEXT = 1000  # characters kept of a reason or an error

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _uid(name: str) -> Column[str]:
    return Column(name, String(64), nullable=False)


def _time(name: str, *, nullable: bool = False) -> Column[float]:
    return Column(name, Double, nullable=nullable)


def _state(name: str, states: type[StrEnum], *, nullable: bool = False) -> Column[str]:
    kind = Enum(
        states,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )
    return Column(name, kind, nullable=nullable)


def _claim(running: str) -> list[Column[object] | CheckConstraint]:
    """What a claim writes. A row is in its claimed state exactly while it has a lease."""
    held, free = column("lease_until").is_not(None), column("lease_until").is_(None)
    state = column("state", String)
    return [
        Column("attempts", Integer, nullable=False),
        Column("token", Integer, nullable=False),
        Column("owner", String(128)),
        Column("lease_until", Double),
        CheckConstraint(or_((state == running) & held, (state != running) & free), name="lease"),
    ]


def _reason() -> list[Column[str]]:
    return [Column("reason_code", String(64)), Column("reason", String(FREE_TEXT))]


study = Table(
    "study",
    metadata,
    Column("id", Integer, primary_key=True),
    _uid("study_instance_uid"),
    _state("state", StudyState),
    _time("last_received_at"),
    _time("due_at"),
    # Counts the results that came or changed. A report names the one it was built at, so that
    # no second report can be made of the same results.
    Column("revision", Integer, nullable=False),
    Column("claimed_revision", Integer),
    *_claim("reporting"),
    Column("report_version", Integer, nullable=False),
    _time("reported_at", nullable=True),
    *_reason(),
    UniqueConstraint("study_instance_uid"),
    Index(None, "state", "due_at"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Integer, primary_key=True),
    _uid("sop_instance_uid"),
    _uid("sop_class_uid"),
    _uid("transfer_syntax_uid"),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("calling_ae", String(16), nullable=False),
    Column("called_ae", String(16), nullable=False),
    Column("peer_address", String(64), nullable=False),
    _time("received_at"),
    Column("contested", Boolean, nullable=False),  # came under a UID that had other bytes
    Column("repeats", Integer, nullable=False),
    Column("study_id", ForeignKey("study.id")),  # unknown until the dataset has been read
    _state("removal", Removal, nullable=True),
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
    _state("state", JobState),
    _time("received_at"),  # the instance's, here for the index
    _time("not_before"),  # 0: at once, whatever the clock says
    *_claim("running"),
    *_reason(),
    _time("changed_at"),
    UniqueConstraint("instance_id"),
    Index("ix_job_claim", "state", "received_at", "id", "not_before"),
)

result = Table(
    "result",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instance.id"), nullable=False),
    _state("status", ResultStatus),
    Column("bundle", String(128)),
    *_reason(),
    _time("created_at"),
    UniqueConstraint("instance_id"),
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
    Column("revision", Integer, nullable=False),  # of the study, when the report was claimed
    _uid("sop_instance_uid"),
    _uid("sop_class_uid"),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    _time("created_at"),
    UniqueConstraint("study_id", "version"),
    UniqueConstraint("study_id", "revision"),
    UniqueConstraint("sop_instance_uid"),
)

# An object beside a report. Its UID comes of what it shows, so that a later version of the report
# that needs the same one finds it here, delivered.
companion = Table(
    "companion",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("report_id", ForeignKey("report.id"), nullable=False),  # the first that needed it
    Column("position", Integer, nullable=False),
    _uid("sop_instance_uid"),
    _uid("sop_class_uid"),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    _time("created_at"),
    _state("removal", Removal, nullable=True),
    UniqueConstraint("sop_instance_uid"),
    UniqueConstraint("report_id", "position"),
    Index(None, "removal", "created_at"),
)

# A request for storage commitment. It is kept when it is answered: a PACS may report twice.
commitment = Table(
    "commitment",
    metadata,
    Column("id", Integer, primary_key=True),
    _uid("transaction_uid"),
    Column("pacs", String(64), nullable=False),
    _time("asked_at"),
    _time("answered_at", nullable=True),
    UniqueConstraint("transaction_uid"),
)

peer = Table(
    "peer",
    metadata,
    Column("pacs", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("accepted", Text, nullable=False),  # JSON: SOP class UID to transfer syntax UID
    _time("learnt_at"),
)

delivery = Table(
    "delivery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("report_id", ForeignKey("report.id"), nullable=False),
    Column("pacs", String(64), nullable=False),
    _state("state", DeliveryState),
    _time("next_attempt_at"),
    *_claim("sending"),
    _time("stored_at", nullable=True),
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
