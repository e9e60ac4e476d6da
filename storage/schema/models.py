"""Bundles, what served when, and thresholds. The last two are only ever added to."""

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
    Text,
    UniqueConstraint,
    column,
)

from storage.bundles import Deed, ModelState
from storage.schema.base import FREE_TEXT, metadata, state, time

model = Table(
    "model",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", String(128), nullable=False),  # name and version, as results state them
    Column("digest", String(64), nullable=False),
    Column("folder", String(255), nullable=False),  # under <root>/models
    Column("card", Text, nullable=False),  # the manifest
    Column("thresholds", Text, nullable=False),  # JSON: finding to the bundle's own, in order
    time("registered_at"),
    state("state", ModelState),
    Column("reason", String(FREE_TEXT)),
    UniqueConstraint("version"),
    UniqueConstraint("digest"),
)

# The last row says what serves.
promotion = Table(
    "promotion",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", ForeignKey("model.id"), nullable=False),
    state("deed", Deed),
    Column("back_to", ForeignKey("promotion.id")),
    Column("actor", String(128), nullable=False),
    Column("reason", String(FREE_TEXT), nullable=False),
    time("at"),
)

# The last row of a digest and a finding is in force; without one, or with no value, the bundle's.
threshold = Table(
    "threshold",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("finding", String(64), nullable=False),
    Column("value", Double),
    Column("actor", String(128), nullable=False),
    Column("reason", String(FREE_TEXT), nullable=False),
    time("at"),
    CheckConstraint(column("value").between(0, 1), name="value"),
    Index(None, "digest", "finding"),
)

# What each worker has loaded, for whoever wants to see that a promotion has arrived.
worker = Table(
    "worker",
    metadata,
    Column("owner", String(128), primary_key=True),
    Column("version", String(128), nullable=False),
    Column("engine", String(64), nullable=False),
    Column("reason", String(FREE_TEXT), nullable=False),  # why that engine
    time("loaded_at"),
)
