"""Acceptance tests: sample, readers, report. The first reads stand with the reviews."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    column,
)

from storage.acceptance_records import AcceptanceState
from storage.schema.base import FREE_TEXT, metadata, state, time

acceptance_test = Table(
    "acceptance_test",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    state("state", AcceptanceState),
    Column("finding", String(64), nullable=False),
    Column("half_width", Double, nullable=False),
    Column("sensitivity", Double, nullable=False),
    Column("specificity", Double, nullable=False),
    Column("seed", String(64), nullable=False),
    Column("version", String(128), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("thresholds", Text, nullable=False),  # JSON
    Column("counts", Text, nullable=False),  # JSON
    time("since"),
    time("until"),
    Column("actor", String(128), nullable=False),
    time("drawn_at"),
    Column("closed_by", String(128)),
    Column("close_reason", String(FREE_TEXT)),
    time("closed_at", nullable=True),
    UniqueConstraint("name"),
    CheckConstraint(
        (column("state", String) == "closed") == column("closed_at").is_not(None), name="closing"
    ),
)

acceptance_reader = Table(
    "acceptance_reader",
    metadata,
    Column("test_id", ForeignKey("acceptance_test.id"), primary_key=True, autoincrement=False),
    Column("account", Integer, primary_key=True, autoincrement=False),
    Column("login", String(64), nullable=False),
    Column("name", String(324), nullable=False),
    Index(None, "account"),
)

acceptance_case = Table(
    "acceptance_case",
    metadata,
    Column("test_id", ForeignKey("acceptance_test.id"), primary_key=True, autoincrement=False),
    Column("study_id", ForeignKey("study.id"), primary_key=True, autoincrement=False),
    Column("position", Integer, nullable=False),  # in the readers' lists, from 1
    Column("patient", String(64), nullable=False),  # its key in the hold-out
    Column("weight", Double, nullable=False),
    Column("images", Integer, nullable=False),
    Column("groups", Text, nullable=False),  # JSON
    Index(None, "study_id"),
    Index(None, "patient"),
)

# What the bundle had found when the sample was drawn: neither a later bundle nor a later threshold
# changes what is tested.
acceptance_decision = Table(
    "acceptance_decision",
    metadata,
    Column("test_id", Integer, primary_key=True, autoincrement=False),
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("finding", String(64), primary_key=True),
    Column("probability", Double, nullable=False),
    Column("present", Boolean, nullable=False),
    ForeignKeyConstraint(
        ["test_id", "study_id"], ["acceptance_case.test_id", "acceptance_case.study_id"]
    ),
)

acceptance_report = Table(
    "acceptance_report",
    metadata,
    Column("test_id", ForeignKey("acceptance_test.id"), primary_key=True, autoincrement=False),
    Column("figures", Text, nullable=False),  # JSON
    Column("pictures", Text, nullable=False),  # JSON: name to PNG in base64
    Column("page", Text, nullable=False),  # HTML
    time("made_at"),
)
