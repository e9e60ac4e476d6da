"""What is watched, and alarms. No patient data stands here: stations, findings and figures."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    String,
    Table,
    Text,
    column,
)

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

# The last line of a digest and a finding is in force.
doubt = Table(
    "doubt",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("finding", String(64), nullable=False),
    Column("doubted", Boolean, nullable=False),
    Column("actor", String(128), nullable=False),
    Column("reason", String(FREE_TEXT), nullable=False),
    time("at"),
    Index(None, "digest", "finding"),
)

# How a station stands in the charts of a bundle, and what it is held against.
station_watch = Table(
    "station_watch",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("station", String(64), primary_key=True),
    Column("images", Integer, nullable=False),
    Column("quiet", Integer, nullable=False),  # images since a chart last left its limits
    Column("charts", Text, nullable=False),  # JSON, of `training.charts.Charts`
    Column("left", Text, nullable=False),  # JSON: measures that left, since the alarm opened
    Column("reference", Text),  # JSON, its own; none: the bundle's
    Column("reference_by", String(128)),
    time("reference_at", nullable=True),
    Column("accepted_by", String(128)),  # who asks that its images become its reference
    time("updated_at"),
)

# How far the watch has come, and what it found of reviews: a few rows.
watch_note = Table(
    "watch_note",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),  # JSON
    time("at"),
)
