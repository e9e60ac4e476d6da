"""The tables, one module for each area. Any change needs a migration; a test compares the two."""

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

__all__ = [
    "FREE_TEXT",
    "attention",
    "commitment",
    "companion",
    "delivery",
    "finding",
    "instance",
    "job",
    "label",
    "metadata",
    "peer",
    "report",
    "result",
    "review",
    "review_answer",
    "study",
]
