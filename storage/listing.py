"""The rows that a list is made of, written within the transaction of whoever changes a result."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    String,
    Table,
    case,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from storage.database import insert_or
from storage.headers import (
    Headers,
    HeaderState,
    ImageHeader,
    StudyHeader,
    searched,
    urgency,
)
from storage.records import InstanceId, ResultStatus, StudyId
from storage.schema import (
    canary,
    finding,
    image_header,
    instance,
    own_header,
    result,
    study,
    study_finding,
)
from storage.schema import study_header as listed
from storage.schema.worklist import SEARCHED

STUDY_TEXTS = tuple(field.name for field in fields(StudyHeader))
_LENGTHS = {name: cast("String", listed.c[name].type).length for name in STUDY_TEXTS}
IMAGE_VALUES = tuple(field.name for field in fields(ImageHeader) if field.name != "pixels")

NEXT_CHANGE: ScalarSelect[int] = (
    select(func.coalesce(func.max(listed.c.changed), 0) + 1).correlate(None).scalar_subquery()
)
"""Of any row; within a write transaction no other takes the same."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A finding in an image of the study."""

    name: str
    meaning: str
    probability: float
    present: bool


def list_study(
    connection: Connection, study_id: StudyId, header: StudyHeader | None = None
) -> bool:
    """Bring a study's row up to its results; a study with a new result is to be reviewed again.

    What the study's first image said stays, and what a later one says besides is added: a study
    does not change its patient. A canary's study is no patient's, and has no row: return whether
    there is one.
    """
    before = connection.execute(_study(study_id)).one()
    if before.canary:
        return False
    found = [_Found(*row) for row in connection.execute(_findings(study_id))]
    top = max(found, key=lambda one: (one.present, one.probability), default=None)
    known = _merged(_header(before), header or StudyHeader())
    state = before.header or HeaderState.MISSING
    order = {
        "urgency": _urgency(top, reviewed=False),
        "first_received_at": before.first_received_at,
    }
    values: dict[str, Any] = {
        **order,
        "reviewed": False,
        "reviewed_at": None,
        "reviewed_by": None,
        "changed": NEXT_CHANGE,
        "header": state if header is None else HeaderState.READ,
        "images": before.images,
        "not_analysed": before.not_analysed,
        "flagged": top is not None and top.present,
        "top_probability": top and top.probability,
        "top_finding": top and top.name,
        "top_meaning": top and top.meaning,
        **_texts(known),
    }
    new = insert_or(connection, listed).values(study_id=study_id, **values)
    connection.execute(new.on_conflict_do_update(index_elements=["study_id"], set_=values))
    present = sorted({one.name for one in found if one.present})
    if before.flagged:
        connection.execute(delete(study_finding).where(study_finding.c.study_id == study_id))
    if present:
        connection.execute(
            insert(study_finding).values(study_id=study_id, **order),
            [{"name": name} for name in present],
        )
    return True


def put_image(connection: Connection, instance_id: InstanceId, header: ImageHeader) -> None:
    """Keep an image's header, in place of one that it had."""
    _put(connection, image_header, {"instance_id": instance_id}, header)


def put_own(connection: Connection, sop_instance_uid: str, header: ImageHeader | None) -> None:
    """Keep the header of an object of ours, where it was read."""
    if header is not None:
        _put(connection, own_header, {"sop_instance_uid": sop_instance_uid}, header)


def _put(connection: Connection, table: Table, key: dict[str, Any], header: ImageHeader) -> None:
    values = {name: getattr(header, name) for name in IMAGE_VALUES}
    values["pixels"] = json.dumps(header.pixels, separators=(",", ":"))
    new = insert_or(connection, table).values(**key, **values)
    connection.execute(new.on_conflict_do_update(index_elements=list(key), set_=values))


def list_result(
    connection: Connection, instance_id: InstanceId, study_id: StudyId, headers: Headers | None
) -> None:
    """List a result that was just written, with what its image's dataset says."""
    is_listed = list_study(connection, study_id, None if headers is None else headers.study)
    if headers is not None and is_listed:
        put_image(connection, instance_id, headers.image)


def fill_study(connection: Connection, study_id: StudyId, header: StudyHeader) -> None:
    """Give a study of before what an image of it says; its place in the list stays."""
    known = _merged(_header(connection.execute(_study(study_id)).one()), header)
    connection.execute(
        update(listed)
        .where(listed.c.study_id == study_id)
        .values(header=HeaderState.READ, changed=NEXT_CHANGE, **_texts(known))
    )


def mark_review(
    connection: Connection, study_id: StudyId, by: str | None, at: float | None
) -> None:
    """Note in the list who has reviewed a study, or None that it is to be reviewed."""
    query = select(listed.c.flagged, listed.c.top_probability).where(listed.c.study_id == study_id)
    row = connection.execute(query).first()
    if row is None:
        return
    place = urgency(reviewed=by is not None, flagged=row.flagged, probability=row.top_probability)
    connection.execute(
        update(listed)
        .where(listed.c.study_id == study_id)
        .values(
            reviewed=by is not None,
            reviewed_by=by,
            reviewed_at=at,
            urgency=place,
            changed=NEXT_CHANGE,
        )
    )
    if row.flagged:
        connection.execute(
            update(study_finding).where(study_finding.c.study_id == study_id).values(urgency=place)
        )


def of_canary(study_instance_uid: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a study is a canary's (`storage.canaries`): one look into an index."""
    return exists(select(canary.c.run_id).where(canary.c.study_instance_uid == study_instance_uid))


def _study(study_id: StudyId) -> Select[Any]:
    """Select what the row says so far, and what it has to say now."""
    of_study = instance.c.study_id == study_id

    def over_results(value: ColumnElement[Any]) -> ScalarSelect[Any]:
        joined = select(value).select_from(instance).join(result)
        return joined.where(of_study).correlate(None).scalar_subquery()

    unanalysed = case((result.c.status == ResultStatus.NOT_ANALYSED, 1), else_=0)
    first = func.coalesce(over_results(func.min(instance.c.received_at)), study.c.last_received_at)
    return (
        select(
            listed.c.flagged,
            listed.c.header,
            *(listed.c[name] for name in STUDY_TEXTS),
            over_results(func.count()).label("images"),
            func.coalesce(over_results(func.sum(unanalysed)), 0).label("not_analysed"),
            first.label("first_received_at"),
            of_canary(study.c.study_instance_uid).label("canary"),
        )
        .select_from(study)
        .outerjoin(listed, listed.c.study_id == study.c.id)
        .where(study.c.id == study_id)
    )


def _findings(study_id: StudyId) -> Select[Any]:
    """Select every finding of every image: a study with findings has few images."""
    columns = (finding.c.name, finding.c.code_meaning, finding.c.probability, finding.c.present)
    return (
        select(*columns)
        .select_from(instance)
        .join(result, result.c.instance_id == instance.c.id)
        .join(finding, finding.c.result_id == result.c.id)
        .where(instance.c.study_id == study_id)
    )


def _urgency(top: _Found | None, *, reviewed: bool) -> float:
    if top is None:
        return urgency(reviewed=reviewed, flagged=False, probability=None)
    return urgency(reviewed=reviewed, flagged=top.present, probability=top.probability)


def _header(row: Any) -> StudyHeader:
    return StudyHeader(**{name: getattr(row, name) or "" for name in STUDY_TEXTS})


def _merged(known: StudyHeader, more: StudyHeader) -> StudyHeader:
    return replace(
        known,
        **{name: getattr(more, name) for name in STUDY_TEXTS if not getattr(known, name)},
    )


def _texts(header: StudyHeader) -> dict[str, str]:
    texts = {name: getattr(header, name)[:length] for name, length in _LENGTHS.items()}
    return texts | {"search": searched(header)[:SEARCHED]}
