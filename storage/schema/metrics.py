"""What was counted for good, for metrics. No patient data stands here."""

from __future__ import annotations

from sqlalchemy import Column, Double, String, Table

from storage.schema.base import metadata

metric_sum = Table(
    "metric_sum",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("labels", String(255), primary_key=True),  # a JSON array of their values
    Column("value", Double, nullable=False),
)
