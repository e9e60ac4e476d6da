"""What the pages list: what a study's and an image's header says, and what a list is sorted by.

Patient data stands here: who reads it is asked at the door (`daemon.web.access`) and noted.
Everything that a list sorts or filters by is kept in one row, written with what changes it, so
that a page comes from an index however many studies there are.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from storage.headers import HeaderState
from storage.schema.base import metadata, state, time

SEARCHED = 320  # characters; the index that holds them takes 2,700 bytes a row on PostgreSQL


def _text(name: str, length: int) -> Column[str]:
    return Column(name, String(length), nullable=False)


study_header = Table(
    "study_header",
    metadata,
    Column("study_id", ForeignKey("study.id"), primary_key=True, autoincrement=False),
    # Smallest first: `storage.headers.urgency`
    Column("urgency", Double, nullable=False),
    time("first_received_at"),
    Column("reviewed", Boolean, nullable=False),
    time("reviewed_at", nullable=True),
    Column("reviewed_by", String(64)),
    # Larger with every change of any row: whoever has seen the largest has seen all
    Column("changed", Integer, nullable=False),
    state("header", HeaderState),
    Column("images", Integer, nullable=False),
    Column("not_analysed", Integer, nullable=False),
    Column("flagged", Boolean, nullable=False),
    Column("top_probability", Double),
    Column("top_finding", String(64)),
    Column("top_meaning", String(64)),
    _text("study_date", 8),
    _text("study_time", 16),
    _text("timezone_offset", 8),
    _text("station", 64),
    _text("patient_id", 64),
    _text("issuer", 64),
    _text("patient_name", 324),
    _text("patient_sex", 16),
    _text("birth_date", 8),
    _text("patient_age", 4),
    _text("accession_number", 64),
    _text("study_number", 64),
    _text("description", 64),
    _text("institution", 64),
    _text("referring_physician", 324),
    _text("search", SEARCHED),  # name, ids and accession number, casefolded
    Index("ix_study_header_changed", "changed"),
    Index("ix_study_header_patient", "patient_id", "issuer"),
    Index("ix_study_header_accession", "accession_number"),
    Index("ix_study_header_station", "station", "urgency", "first_received_at", "study_id"),
    Index("ix_study_header_reviewer", "reviewed_by", "urgency", "first_received_at", "study_id"),
    Index("ix_study_header_date", "study_date", "urgency", "first_received_at", "study_id"),
)
# What a list is filtered by stands in the index that gives its order: what is passed over is not
# looked up.
_FILTERED = ("study_date", "station", "reviewed_by", "search")
Index(
    "ix_study_header_urgency",
    *(study_header.c[name] for name in ("urgency", "first_received_at", "study_id")),
    study_header.c.not_analysed,
    *(study_header.c[name] for name in _FILTERED),
)
Index(
    "ix_study_header_waiting",
    *(study_header.c[name] for name in ("reviewed", "first_received_at", "study_id")),
    *(study_header.c[name] for name in _FILTERED),
)

# The findings that are present in any image of a study.
study_finding = Table(
    "study_finding",
    metadata,
    Column("study_id", ForeignKey("study.id"), primary_key=True, autoincrement=False),
    Column("name", String(64), primary_key=True),
    Column("urgency", Double, nullable=False),  # the study's, here for the index
    time("first_received_at"),
    Index("ix_study_finding_urgency", "name", "urgency", "first_received_at", "study_id"),
)


def _image() -> list[Column[Any]]:
    return [
        _text("series_instance_uid", 64),
        Column("series_number", Integer),
        _text("series_description", 64),
        Column("instance_number", Integer),
        _text("modality", 16),
        Column("rows", Integer),
        Column("columns", Integer),
        Column("bits_stored", Integer),
        _text("photometric", 16),
        _text("view_position", 16),
        _text("laterality", 16),
        _text("body_part", 64),
        Column("frames", Integer, nullable=False),
        # JSON: for each frame its fragments, each [offset, length] in the stored file
        Column("pixels", Text, nullable=False),
        # The dataset without its bulk data in the DICOM JSON model (PS3.18 annex F), by zlib
        Column("metadata", LargeBinary),
    ]


image_header = Table(
    "image_header",
    metadata,
    Column("instance_id", ForeignKey("instance.id"), primary_key=True, autoincrement=False),
    *_image(),
    Index(None, "series_instance_uid"),
)

# Of a report, and of an object beside one.
own_header = Table(
    "own_header",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    *_image(),
)
