"""The hosts that share a PostgreSQL database."""

from __future__ import annotations

from sqlalchemy import Column, String, Table

from storage.schema.base import metadata, time

host = Table(
    "host",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("roles", String(255), nullable=False),  # separated by spaces
    time("seen_at"),
)
