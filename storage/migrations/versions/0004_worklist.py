"""What the pages list: a study's and an image's header.

A study of before has a row at once, with what its results say; its header is read from the stored
images afterwards, by a worker that has nothing else to do.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXTS = {
    "study_date": 8, "study_time": 16, "timezone_offset": 8, "station": 64, "patient_id": 64,
    "issuer": 64, "patient_name": 324, "patient_sex": 16, "birth_date": 8, "patient_age": 4,
    "accession_number": 64, "study_number": 64, "description": 64, "institution": 64,
    "referring_physician": 324, "search": 320,
}  # fmt: skip
INDEXES = {
    "changed": ("changed",),
    "patient": ("patient_id", "issuer"),
    "accession": ("accession_number",),
    "station": ("station", "urgency", "first_received_at", "study_id"),
    "reviewer": ("reviewed_by", "urgency", "first_received_at", "study_id"),
    "date": ("study_date", "urgency", "first_received_at", "study_id"),
    "urgency": ("urgency", "first_received_at", "study_id", "not_analysed", "study_date",
                "station", "reviewed_by", "search"),
    "waiting": ("reviewed", "first_received_at", "study_id", "study_date", "station",
                "reviewed_by", "search"),
}  # fmt: skip


def upgrade() -> None:
    """Make the tables, and a row for every study that is there."""
    _study_headers()
    _study_findings()
    _image_headers()
    for statement in (_HEADERS, _FINDINGS):
        op.execute(statement)


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)


def _study_headers() -> None:
    states = sa.Enum(
        "missing", "read",
        name="header", native_enum=False, create_constraint=True, length=16,
    )  # fmt: skip
    op.create_table(
        "study_header",
        sa.Column("study_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("urgency", sa.Double, nullable=False),
        sa.Column("first_received_at", sa.Double, nullable=False),
        sa.Column("reviewed", sa.Boolean, nullable=False),
        sa.Column("reviewed_at", sa.Double),
        sa.Column("reviewed_by", sa.String(64)),
        sa.Column("changed", sa.Integer, nullable=False),
        sa.Column("header", states, nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        sa.Column("not_analysed", sa.Integer, nullable=False),
        sa.Column("flagged", sa.Boolean, nullable=False),
        sa.Column("top_probability", sa.Double),
        sa.Column("top_finding", sa.String(64)),
        sa.Column("top_meaning", sa.String(64)),
        *(_text(name, length) for name, length in TEXTS.items()),
        sa.PrimaryKeyConstraint("study_id", name=op.f("pk_study_header")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_study_header_study_id")),
    )
    for name, columns in INDEXES.items():
        op.create_index(f"ix_study_header_{name}", "study_header", list(columns))


def _study_findings() -> None:
    op.create_table(
        "study_finding",
        sa.Column("study_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("urgency", sa.Double, nullable=False),
        sa.Column("first_received_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("study_id", "name", name=op.f("pk_study_finding")),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name=op.f("fk_study_finding_study_id")),
    )
    columns = ["name", "urgency", "first_received_at", "study_id"]
    op.create_index("ix_study_finding_urgency", "study_finding", columns)


def _image_headers() -> None:
    op.create_table(
        "image_header",
        sa.Column("instance_id", sa.Integer, nullable=False, autoincrement=False),
        *_image(),
        sa.PrimaryKeyConstraint("instance_id", name=op.f("pk_image_header")),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instance.id"], name=op.f("fk_image_header_instance_id")
        ),
    )
    op.create_index(
        op.f("ix_image_header_series_instance_uid"), "image_header", ["series_instance_uid"]
    )
    op.create_table(
        "own_header",
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        *_image(),
        sa.PrimaryKeyConstraint("sop_instance_uid", name=op.f("pk_own_header")),
    )


def _image() -> list[sa.Column[Any]]:
    return [
        _text("series_instance_uid", 64),
        sa.Column("series_number", sa.Integer),
        _text("series_description", 64),
        sa.Column("instance_number", sa.Integer),
        _text("modality", 16),
        sa.Column("rows", sa.Integer),
        sa.Column("columns", sa.Integer),
        sa.Column("bits_stored", sa.Integer),
        _text("photometric", 16),
        _text("view_position", 16),
        _text("laterality", 16),
        _text("body_part", 64),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("pixels", sa.Text, nullable=False),
        sa.Column("metadata", sa.LargeBinary),
    ]


_OF_STUDY = "FROM instance i JOIN result r ON r.instance_id = i.id"
# The finding that a study is listed by: one that is present before one that is not
_TOP = (
    "SELECT i.study_id, f.present, f.probability, f.name, f.code_meaning, ROW_NUMBER() OVER "
    "(PARTITION BY i.study_id ORDER BY f.present DESC, f.probability DESC, f.name) AS place "
    f"{_OF_STUDY} JOIN finding f ON f.result_id = r.id"
)
_HEADERS = f"""
INSERT INTO study_header (study_id, urgency, first_received_at, reviewed, changed, header, images,
    not_analysed, flagged, top_probability, top_finding, top_meaning, {", ".join(TEXTS)})
SELECT s.id,
    CASE WHEN t.present THEN 1.0 ELSE 3.0 END - COALESCE(t.probability, 0.0),
    COALESCE(n.first_received_at, s.last_received_at), FALSE, s.id, 'missing',
    COALESCE(n.images, 0), COALESCE(n.not_analysed, 0), COALESCE(t.present, FALSE),
    t.probability, t.name, t.code_meaning, {", ".join("''" for _ in TEXTS)}
FROM study s
LEFT JOIN (SELECT i.study_id, MIN(i.received_at) AS first_received_at, COUNT(*) AS images,
    SUM(CASE WHEN r.status = 'not_analysed' THEN 1 ELSE 0 END) AS not_analysed
    {_OF_STUDY} GROUP BY i.study_id) n ON n.study_id = s.id
LEFT JOIN ({_TOP}) t ON t.study_id = s.id AND t.place = 1
"""  # noqa: S608 - of constants alone
_FINDINGS = f"""
INSERT INTO study_finding (study_id, name, urgency, first_received_at)
SELECT DISTINCT h.study_id, f.name, h.urgency, h.first_received_at
{_OF_STUDY} JOIN finding f ON f.result_id = r.id JOIN study_header h ON h.study_id = i.study_id
WHERE f.present
"""
