"""What rows of the audit trail add to the sums: images, findings, reports, deliveries, latencies.

A row keeps the form of the release that wrote it: what it does not say is counted without it.
A latency is taken from the rows' own times. Labels are codes, names of findings and of PACS.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, select

from storage.people import Action
from storage.schema import audit, delivery, instance, report, result
from storage.trail import PROBABILITY, THRESHOLD

CLASSIFIED, REPORTED, DELIVERED, WHOLE = "classified", "reported", "delivered", "whole"
"""The stages: accepted to classified, to reported (from a study's last image), to delivered; and
from a study's last image accepted to its report delivered."""

BOUNDS_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0,
            86400.0)  # fmt: skip
MORE = "+Inf"

Key = tuple[str, tuple[str, ...]]
"""A sum's name and the values of its labels."""

Sums = defaultdict[Key, float]


def count_rows(connection: Connection, after: int, limit: int) -> tuple[int, Sums]:
    """Count up to `limit` rows after that one; return the last row counted, and what they add."""
    columns = (audit.c.id, audit.c.action, audit.c.detail)
    rows = connection.execute(
        select(*columns).where(audit.c.id > after).order_by(audit.c.id).limit(limit)
    ).all()
    counted: Sums = defaultdict(float)
    if not rows:
        return after, counted
    for row in rows:
        counted["audit_rows", (row.action,)] += 1
        count = _COUNTS.get(row.action)
        if count is not None:
            count(counted, json.loads(row.detail))
    last: int = rows[-1].id
    these = audit.c.id.between(after + 1, last)
    _latencies(connection, these, counted)
    return last, counted


def _received(counted: Sums, detail: Mapping[str, Any]) -> None:
    counted["images_received", (detail.get("outcome", ""),)] += 1
    counted["bytes_received", ()] += detail.get("bytes", 0)


def _analysed(counted: Sums, detail: Mapping[str, Any]) -> None:
    counted["images", ("analysed", "")] += 1
    for key, probability in detail.items():
        if key.startswith(PROBABILITY):
            name = key.removeprefix(PROBABILITY)
            present = probability >= detail.get(THRESHOLD + name, 1.0)
            counted["findings", (name, "present" if present else "absent")] += 1


def _not_analysed(counted: Sums, detail: Mapping[str, Any]) -> None:
    counted["images", ("not_analysed", detail.get("reason", ""))] += 1


def _quarantined(counted: Sums, detail: Mapping[str, Any]) -> None:
    counted["images", ("quarantined", detail.get("reason", ""))] += 1


def _ignored(counted: Sums, detail: Mapping[str, Any]) -> None:
    counted["images", ("ignored", detail.get("reason", ""))] += 1


def _made(counted: Sums, _detail: Mapping[str, Any]) -> None:
    counted["reports", ()] += 1


def _delivered(counted: Sums, detail: Mapping[str, Any]) -> None:
    counted["deliveries", (detail.get("pacs", ""), "stored")] += 1


def _refused(counted: Sums, detail: Mapping[str, Any]) -> None:
    counted["deliveries", (detail.get("pacs", ""), "refused")] += 1


def _committed(counted: Sums, detail: Mapping[str, Any]) -> None:
    for outcome in ("committed", "resent", "dead"):
        said = "commitment_failed" if outcome == "dead" else outcome
        counted["deliveries", (detail.get("pacs", ""), said)] += detail.get(outcome, 0)


_COUNTS = {
    Action.INSTANCE_RECEIVED: _received,
    Action.INSTANCE_ANALYSED: _analysed,
    Action.INSTANCE_NOT_ANALYSED: _not_analysed,
    Action.INSTANCE_QUARANTINED: _quarantined,
    Action.INSTANCE_IGNORED: _ignored,
    Action.REPORT_MADE: _made,
    Action.REPORT_DELIVERED: _delivered,
    Action.REPORT_REFUSED: _refused,
    Action.COMMITMENT_REPORTED: _committed,
}


def _latencies(connection: Connection, these: ColumnElement[bool], counted: Sums) -> None:
    answered = (
        select(audit.c.at - instance.c.received_at)
        .join(instance, instance.c.sop_instance_uid == audit.c.subject)
        .where(these, ~instance.c.contested)
        .where(audit.c.action.in_([Action.INSTANCE_ANALYSED, Action.INSTANCE_NOT_ANALYSED]))
    )
    for (seconds,) in connection.execute(answered):
        _note(counted, CLASSIFIED, seconds)
    of_study = instance.alias("of_study")
    last_result = (
        select(func.max(result.c.created_at))
        .join(of_study, of_study.c.id == result.c.instance_id)
        .where(of_study.c.study_id == report.c.study_id, result.c.created_at <= audit.c.at)
        .scalar_subquery()
    )
    made = (
        select(audit.c.at - last_result)
        .join(report, report.c.sop_instance_uid == audit.c.subject)
        .where(these, audit.c.action == Action.REPORT_MADE, report.c.review_id.is_(None))
    )
    for (seconds,) in connection.execute(made):
        _note(counted, REPORTED, seconds)
    _deliveries(connection, these, counted)


def _deliveries(connection: Connection, these: ColumnElement[bool], counted: Sums) -> None:
    last_image = (
        select(func.max(instance.c.received_at))
        .where(instance.c.study_id == report.c.study_id)
        .where(instance.c.received_at <= report.c.created_at)
        .scalar_subquery()
    )
    sent = (
        select(
            audit.c.detail, audit.c.at, delivery.c.pacs, report.c.created_at,
            report.c.review_id, last_image.label("last_image"),
        )
        .join(
            delivery,
            and_(delivery.c.sent_uid == audit.c.subject, delivery.c.companion_id.is_(None)),
        )
        .join(report, report.c.id == delivery.c.report_id)
        .where(these, audit.c.action == Action.REPORT_DELIVERED)
    )  # fmt: skip
    for row in connection.execute(sent):
        if json.loads(row.detail).get("pacs") != row.pacs:
            continue  # the row of another PACS
        _note(counted, DELIVERED, row.at - row.created_at)
        if row.review_id is None and row.last_image is not None:
            _note(counted, WHOLE, row.at - row.last_image)


def _note(counted: Sums, stage: str, seconds: float | None) -> None:
    if seconds is None:
        return
    seconds = max(0.0, seconds)  # a clock may be set back
    bound = next((f"{one:g}" for one in BOUNDS_S if seconds <= one), MORE)
    counted["latency_count", (stage, bound)] += 1
    counted["latency_seconds", (stage,)] += seconds
