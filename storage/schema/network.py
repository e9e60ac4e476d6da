"""Who was not let in."""

from __future__ import annotations

from sqlalchemy import Column, Integer, String, Table, UniqueConstraint

from storage.schema.base import metadata, time

turned_away = Table(
    "turned_away",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("calling_ae", String(16), nullable=False),  # empty: it never said
    Column("address", String(64), nullable=False),
    Column("reason", String(128), nullable=False),
    Column("count", Integer, nullable=False),
    time("first_at"),
    time("last_at"),
    UniqueConstraint("calling_ae", "address", "reason"),
)
