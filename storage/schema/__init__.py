"""The tables, one module for each area. Any change needs a migration; a test compares the two."""

from storage.schema.acceptance import (
    acceptance_case,
    acceptance_decision,
    acceptance_reader,
    acceptance_report,
    acceptance_test,
)
from storage.schema.access import account, api_token, audit, audit_mark, session
from storage.schema.base import FREE_TEXT, metadata
from storage.schema.canary import arrival_hour, arrival_watch, canary, canary_score, watched_hour
from storage.schema.hosts import host
from storage.schema.metrics import metric_sum
from storage.schema.models import model, promotion, threshold, worker
from storage.schema.network import turned_away
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
from storage.schema.shadow import shadow, shadow_finding, trial
from storage.schema.watching import alarm, doubt, station_watch, watch_note
from storage.schema.worklist import image_header, own_header, study_finding, study_header

__all__ = [
    "FREE_TEXT",
    "acceptance_case",
    "acceptance_decision",
    "acceptance_reader",
    "acceptance_report",
    "acceptance_test",
    "account",
    "alarm",
    "api_token",
    "arrival_hour",
    "arrival_watch",
    "attention",
    "audit",
    "audit_mark",
    "canary",
    "canary_score",
    "commitment",
    "companion",
    "delivery",
    "doubt",
    "finding",
    "holdout_draw",
    "holdout_patient",
    "host",
    "image_header",
    "instance",
    "job",
    "label",
    "metadata",
    "metric_sum",
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
    "shadow",
    "shadow_finding",
    "station_watch",
    "study",
    "study_finding",
    "study_header",
    "threshold",
    "trial",
    "turned_away",
    "watch_note",
    "watched_hour",
    "worker",
]
