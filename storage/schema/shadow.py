"""Trials of a candidate on live images beside what serves. Nothing here is ever sent."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
    column,
)

from storage.schema.base import FREE_TEXT, metadata, state, time
from storage.shadow_records import ShadowState, TrialState

trial = Table(
    "trial",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    Column("against_id", ForeignKey("model.id"), nullable=False),
    # What the ledger stood at; no keys, for 0 is before the first row
    Column("promotion", Integer, nullable=False),
    Column("threshold", Integer, nullable=False),
    Column("after_result", Integer, nullable=False),  # the last one there was when it began
    state("state", TrialState),
    Column("images", Integer, nullable=False),  # at which it is complete
    Column("started_by", String(128), nullable=False),
    time("started_at"),
    time("until"),
    Column("ended_by", String(128)),
    time("ended_at", nullable=True),
    Column("reason", String(FREE_TEXT)),
    CheckConstraint(column("images") > 0, name="images"),
    Index(None, "model_id"),
)
Index(
    "uq_trial_open",
    trial.c.state,
    unique=True,
    sqlite_where=trial.c.state == TrialState.OPEN.value,
    postgresql_where=trial.c.state == TrialState.OPEN.value,
)

shadow = Table(
    "shadow",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("trial_id", ForeignKey("trial.id"), nullable=False),
    Column("instance_id", ForeignKey("instance.id"), nullable=False),
    state("state", ShadowState),
    Column("attempts", Integer, nullable=False),
    Column("reason", String(FREE_TEXT)),
    time("at"),
    UniqueConstraint("trial_id", "instance_id"),
    Index(None, "instance_id"),
)

# Both sides of a decision as they were then: another analysis of the study changes nothing here.
shadow_finding = Table(
    "shadow_finding",
    metadata,
    Column("shadow_id", ForeignKey("shadow.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("probability", Double, nullable=False),
    Column("threshold", Double, nullable=False),
    Column("serving_probability", Double, nullable=False),
    Column("serving_threshold", Double, nullable=False),
)
