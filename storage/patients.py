"""Whose study it is, for the one reader outside the pages that may be told: an audit collector."""

from __future__ import annotations

from sqlalchemy import select

from storage.database import Database
from storage.schema import study, study_header


def patient_of(database: Database, study_instance_uid: str) -> tuple[str, str] | None:
    """Return a study's patient ID and its issuer, None where its header has none."""
    query = (
        select(study_header.c.patient_id, study_header.c.issuer)
        .join(study, study_header.c.study_id == study.c.id)
        .where(study.c.study_instance_uid == study_instance_uid)
    )
    with database.read() as connection:
        row = connection.execute(query).first()
    return None if row is None or not row.patient_id else (row.patient_id, row.issuer)
