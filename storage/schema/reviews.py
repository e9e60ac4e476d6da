"""What radiologists said, and the labels that come of it.

A row is never deleted: what was undone, and by whom, stays to be seen.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from storage.review_records import ReviewKind, ReviewState, Verdict
from storage.schema.base import metadata, state, time

review = Table(
    "review",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", ForeignKey("study.id"), nullable=False),
    state("kind", ReviewKind),
    state("state", ReviewState),
    Column("account", Integer, nullable=False),
    # As they stood when it was written: a report that names the reader stays as it is
    Column("login", String(64), nullable=False),
    Column("person_name", String(324), nullable=False),
    Column("organization", String(64), nullable=False),
    Column("seen_version", Integer, nullable=False),
    Column("seen_revision", Integer, nullable=False),  # of the results in that version
    Column("note", Text, nullable=False),
    time("created_at"),
    time("effective_at"),
    time("undone_at", nullable=True),
    Column("version", Integer),  # of the report that says it
    Index(None, "state", "effective_at"),
    Index(None, "study_id", "state", "effective_at"),
)

review_answer = Table(
    "review_answer",
    metadata,
    Column("review_id", ForeignKey("review.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instance.id"), nullable=False),
    Column("finding", String(64), nullable=False),
    Column("code_value", String(16), nullable=False),
    Column("code_scheme", String(16), nullable=False),
    Column("code_meaning", String(64), nullable=False),
    state("verdict", Verdict),
    Column("present", Boolean),  # none: the reader is unsure
    UniqueConstraint("review_id", "instance_id", "finding"),
    Index(None, "instance_id"),
)

# One for each reader: where two differ, both rows stand.
label = Table(
    "label",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instance_id", ForeignKey("instance.id"), nullable=False),
    Column("finding", String(64), nullable=False),
    Column("account", Integer, nullable=False),
    Column("present", Boolean, nullable=False),
    Column("login", String(64), nullable=False),
    Column("review_id", ForeignKey("review.id"), nullable=False),
    Column("source", String(16), nullable=False),
    time("labelled_at"),
    UniqueConstraint("instance_id", "finding", "account"),
    Index(None, "labelled_at"),
)
