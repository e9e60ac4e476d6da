"""What is watched, and alarms. No patient data stands here: stations, findings and figures."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Index, Integer, String, Table, Text, column

from storage.alarm_records import AlarmState
from storage.schema.base import FREE_TEXT, metadata, state, time

# Of a kind and a subject one is open at a time; it counts how often it was raised.
alarm = Table(
    "alarm",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(32), nullable=False),  # an AlarmKind; kept as it was written
    Column("subject", String(255), nullable=False),
    Column("station", String(64)),
    Column("finding", String(64)),
    state("state", AlarmState),
    time("opened_at"),
    time("last_seen_at"),
    Column("count", Integer, nullable=False),
    Column("detail", Text, nullable=False),  # JSON, of the last time
    Column("acknowledged_by", String(128)),
    time("acknowledged_at", nullable=True),
    time("closed_at", nullable=True),
    Column("closed_by", String(128)),
    Column("closed_because", String(FREE_TEXT)),
    CheckConstraint(
        ((column("state", String) == "closed") & column("closed_at").is_not(None))
        | ((column("state", String) != "closed") & column("closed_at").is_(None)),
        name="closed",
    ),
    Index(None, "last_seen_at"),
)
Index(
    "uq_alarm_open",
    alarm.c.kind,
    alarm.c.subject,
    unique=True,
    sqlite_where=alarm.c.closed_at.is_(None),
    postgresql_where=alarm.c.closed_at.is_(None),
)
