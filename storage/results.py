"""Results and the studies they belong to, within the transaction of whoever calls."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, case, insert, select, update

from storage.database import insert_or
from storage.headers import Headers
from storage.listing import list_result
from storage.records import (
    AnsweredInstance,
    Arrival,
    Attention,
    Finding,
    Instance,
    InstanceId,
    Result,
    StudyId,
    StudyState,
)
from storage.schema import FREE_TEXT, attention, finding, instance, result, study

AnyRow: TypeAlias = Row[*tuple[Any, ...]]

_ARRIVAL = (
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "sha256",
    "size_bytes",
    "calling_ae",
    "called_ae",
    "peer_address",
    "received_at",
)
_FINDING = (
    "name", "code_value", "code_scheme", "code_meaning", "probability", "threshold", "doubt",
)  # fmt: skip
_ATTENTION = ("maps", "grid", "rows", "columns", "top", "left", "scale", "side")

INSTANCE_COLUMNS = [
    instance.c.id.label("instance_id"),
    instance.c.study_id,
    *(instance.c[name] for name in _ARRIVAL),
]


def cut(text: str) -> str:
    """Shorten free text to what is kept of it."""
    return text[:FREE_TEXT]


def to_instance(row: AnyRow) -> Instance:
    """Read `INSTANCE_COLUMNS`."""
    arrival = Arrival(**{name: getattr(row, name) for name in _ARRIVAL})
    study_id = None if row.study_id is None else StudyId(row.study_id)
    return Instance(InstanceId(row.instance_id), arrival, study_id)


def add_result(
    connection: Connection,
    held: Instance,
    answer: Result,
    study_instance_uid: str,
    quiet_s: float,
    now: float,
    headers: Headers | None = None,
) -> None:
    """Give an instance its result, and its study a report to come and a row in the list."""
    study_id = _make_due(connection, study_instance_uid, held.arrival.received_at, quiet_s)
    connection.execute(update(instance).where(instance.c.id == held.id).values(study_id=study_id))
    result_id = connection.execute(
        insert(result)
        .values(
            instance_id=held.id,
            status=answer.status,
            bundle=answer.bundle,
            reason_code=answer.reason_code,
            reason=None if answer.reason is None else cut(answer.reason),
            created_at=now,
            measures=None if answer.measures is None else json.dumps(dict(answer.measures)),
        )
        .returning(result.c.id)
    ).scalar_one()
    if answer.findings:
        connection.execute(
            insert(finding),
            [
                {name: getattr(found, name) for name in _FINDING}
                | {"result_id": result_id, "position": position, "present": found.present}
                for position, found in enumerate(answer.findings)
            ],
        )
    if answer.attention is not None:
        looked = {name: getattr(answer.attention, name) for name in _ATTENTION}
        connection.execute(insert(attention).values(result_id=result_id, **looked))
    list_result(connection, held.id, study_id, headers)


def answered(connection: Connection, which: ColumnElement[bool]) -> tuple[AnsweredInstance, ...]:
    """Return the instances that `which` selects and that have a result, by time received."""
    findings: dict[int, list[Finding]] = defaultdict(list)
    for row in connection.execute(
        select(finding)
        .join(result, finding.c.result_id == result.c.id)
        .join(instance, result.c.instance_id == instance.c.id)
        .where(which)
        .order_by(finding.c.result_id, finding.c.position)
    ):
        findings[row.result_id].append(Finding(**{name: getattr(row, name) for name in _FINDING}))
    rows = connection.execute(
        select(
            *INSTANCE_COLUMNS,
            result.c.id.label("result_id"),
            result.c.status,
            result.c.bundle,
            result.c.reason_code,
            result.c.reason,
            result.c.created_at,
            *(attention.c[name] for name in _ATTENTION),
        )
        .join(result, result.c.instance_id == instance.c.id)
        .outerjoin(attention, attention.c.result_id == result.c.id)
        .where(which)
        .order_by(instance.c.received_at, instance.c.id)
    )
    return tuple(
        AnsweredInstance(
            to_instance(row),
            Result(
                row.status,
                row.bundle,
                tuple(findings[row.result_id]),
                row.reason_code,
                row.reason,
                _to_attention(row),
            ),
            row.created_at,
        )
        for row in rows
    )


def _to_attention(row: AnyRow) -> Attention | None:
    if row.maps is None:
        return None
    return Attention(**{name: getattr(row, name) for name in _ATTENTION})


def _make_due(
    connection: Connection, study_instance_uid: str, received_at: float, quiet_s: float
) -> StudyId:
    """Have the study reported once nothing of it has arrived for `quiet_s`.

    A study being reported right now stays claimed; its larger revision makes it due again when
    that report is done.
    """
    last = case(
        (study.c.last_received_at > received_at, study.c.last_received_at), else_=received_at
    )
    state = case((study.c.state == StudyState.REPORTING, study.c.state), else_=StudyState.DUE.value)
    new = insert_or(connection, study).values(
        study_instance_uid=study_instance_uid,
        state=StudyState.DUE,
        last_received_at=received_at,
        due_at=received_at + quiet_s,
        revision=1,
        attempts=0,
        token=0,
        report_version=0,
    )
    again = new.on_conflict_do_update(
        index_elements=[study.c.study_instance_uid],
        set_={
            "state": state,
            "last_received_at": last,
            "due_at": last + quiet_s,
            "revision": study.c.revision + 1,
            "attempts": 0,
        },
    )
    return StudyId(connection.execute(again.returning(study.c.id)).scalar_one())
