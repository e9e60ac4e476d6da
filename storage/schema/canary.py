"""The canary, and what each station is expected to send. No patient data stands here."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Integer, String, Table, column

from storage.schema.base import metadata, time, uid

# A test image that a run sent. Its study is no patient's: no list and no learning takes it.
canary = Table(
    "canary",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    uid("sop_instance_uid"),
    Column("run_id", ForeignKey("run.id"), nullable=False),
    time("sent_at"),
)

# What a bundle is known to say of an image, each by its SHA-256.
canary_score = Table(
    "canary_score",
    metadata,
    Column("bundle", String(64), primary_key=True),
    Column("image", String(64), primary_key=True),
    Column("finding", String(64), primary_key=True),
    Column("probability", Double, nullable=False),
    time("known_at"),
    CheckConstraint(column("probability").between(0, 1), name="probability"),
)

# The images of a station in an hour, since 1970 in UTC.
arrival_hour = Table(
    "arrival_hour",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("station", String(64), primary_key=True),
    Column("images", Integer, nullable=False),
    time("last_at"),
)

# How long of an hour the service was there to receive: what it missed is nobody's silence.
watched_hour = Table(
    "watched_hour",
    metadata,
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("seconds", Double, nullable=False),
)

# One row: until when arrivals are counted, and when that was.
arrival_watch = Table(
    "arrival_watch",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    time("looked_at"),
    time("counted_from"),  # whatever came before it is counted for good
)
