"""The tables, one module for each area. Any change needs a migration; a test compares the two."""

from storage.schema.access import account, api_token, audit, session
from storage.schema.base import FREE_TEXT, metadata
from storage.schema.hosts import host
from storage.schema.models import model, promotion, threshold, worker
from storage.schema.pipeline import (
    attention,
    commitment,
    companion,
    delivery,
    finding,
    instance,
    job,
    peer,
    report,
    result,
    study,
)
from storage.schema.reviews import label, review, review_answer
from storage.schema.schedules import holdout_draw, holdout_patient, report_label, run, schedule
from storage.schema.watching import alarm
from storage.schema.worklist import image_header, own_header, study_finding, study_header

__all__ = [
    "FREE_TEXT",
    "account",
    "alarm",
    "api_token",
    "attention",
    "audit",
    "commitment",
    "companion",
    "delivery",
    "finding",
    "holdout_draw",
    "holdout_patient",
    "host",
    "image_header",
    "instance",
    "job",
    "label",
    "metadata",
    "model",
    "own_header",
    "peer",
    "promotion",
    "report",
    "report_label",
    "result",
    "review",
    "review_answer",
    "run",
    "schedule",
    "session",
    "study",
    "study_finding",
    "study_header",
    "threshold",
    "worker",
]
