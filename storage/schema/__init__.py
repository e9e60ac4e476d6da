"""The tables, one module for each area. Any change needs a migration; a test compares the two."""

from storage.schema.access import account, api_token, audit, session
from storage.schema.base import FREE_TEXT, metadata
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
from storage.schema.worklist import image_header, own_header, study_finding, study_header

__all__ = [
    "FREE_TEXT",
    "account",
    "api_token",
    "attention",
    "audit",
    "commitment",
    "companion",
    "delivery",
    "finding",
    "image_header",
    "instance",
    "job",
    "label",
    "metadata",
    "own_header",
    "peer",
    "report",
    "result",
    "review",
    "review_answer",
    "session",
    "study",
    "study_finding",
    "study_header",
]
