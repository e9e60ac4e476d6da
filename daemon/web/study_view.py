"""A study as the pages and the API show it, with what a blinded reader may not see left out.

Nothing here parses an object: what is said of an image, the worker has written down.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from daemon.findings import CATALOGUE
from daemon.web.access import Person, Role, Scope
from daemon.web.blinded import withheld
from daemon.web.context import Site
from storage.database import Database
from storage.errors import NotFound
from storage.records import AnsweredInstance, Attention, Finding, Result, ResultStatus
from storage.reports import ReportState, latest_report
from storage.review_records import Review, ReviewState
from storage.reviews import Reviews
from storage.studies import Studies
from storage.worklist import StoredImage, Worklist, WorklistRow


@dataclass(frozen=True, slots=True)
class PatientView:
    """Whose study it is; `name` as VR PN, `birth_date` as YYYYMMDD."""

    name: str
    id: str
    birth_date: str
    sex: str


@dataclass(frozen=True, slots=True)
class Named:
    """A finding that may be named of an image."""

    name: str
    meaning: str


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding in an image; `map` is the address of its heat map, none where none is kept."""

    name: str
    meaning: str
    probability: float
    threshold: float
    present: bool
    doubt: str | None  # reviews say that its probabilities do not hold: marked, or stopped
    map: str | None


@dataclass(frozen=True, slots=True)
class ImageView:
    """An image; `file` is the address of its bytes as they came, none where they are not kept."""

    sop_instance_uid: str
    series_instance_uid: str
    instance_number: int | None
    rows: int | None
    columns: int | None
    view_position: str
    file: str | None
    status: ResultStatus
    reason_code: str | None
    reason: str | None
    model: str | None
    looked_for: list[Named]  # withheld from nobody: it is the model's list
    findings: list[FindingView]


@dataclass(frozen=True, slots=True)
class PriorView:
    """Another study of the same patient."""

    study_instance_uid: str
    study_date: str
    study_time: str
    description: str
    images: int
    url: str


@dataclass(frozen=True, slots=True)
class ReviewView:
    """A review that stands or is about to."""

    id: int
    kind: str
    state: str
    reviewer: str  # login
    created_at: float
    note: str


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """How far the report is on its way to one PACS."""

    pacs: str
    state: str


@dataclass(frozen=True, slots=True)
class ReportView:
    """The latest version of the report."""

    version: int
    created_at: float
    sop_instance_uid: str
    verified: bool
    deliveries: list[DeliveryView]


@dataclass(frozen=True, slots=True)
class StudyView:
    """A study; `version` is of the report that a review is written on, 0 before the first."""

    study_instance_uid: str
    version: int
    state: str
    patient: PatientView
    accession_number: str
    study_date: str
    study_time: str
    description: str
    station: str
    flagged: bool
    withheld: bool  # from a blinded reader who has not read it first: no result is in here
    images: list[ImageView]
    priors: list[PriorView]
    reviews: list[ReviewView]
    report: ReportView | None
    may_review: bool
    vocabulary: list[Named] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class PlacementView:
    """Where a map lies: x = left + scale * column of the model's input, y likewise, in pixels."""

    rows: int
    columns: int
    top: float
    left: float
    scale: float
    side: int


@dataclass(frozen=True, slots=True)
class MapView:
    """A finding's map (grid, grid) row by row, at least 0, over the model's square input."""

    grid: int
    values: list[float]
    placement: PlacementView


def may_review(person: Person) -> bool:
    """Whether the person may write a review."""
    if person.scopes is not None:
        return Scope.REVIEWS in person.scopes
    return person.role is Role.RADIOLOGIST


def study_view(here: Site, person: Person, study_uid: str) -> StudyView:
    """Return the study as the person may see it. Raises NotFound."""
    database = here.database
    worklist = Worklist(database)
    row = worklist.study(study_uid)
    if row is None:
        raise NotFound(f"There is no study {study_uid}.")
    answered = {one.instance.id: one for one in Studies(database).show(study_uid).instances}
    hidden = withheld(here, person, study_uid)
    stored = [one for one in worklist.images(study_uid) if one.instance.id in answered]
    images = [_image(one, answered[one.instance.id], hidden=hidden) for one in stored]
    header = row.header
    return StudyView(
        study_instance_uid=study_uid,
        version=row.report_version,
        state=row.state,
        patient=PatientView(
            header.patient_name, header.patient_id, header.birth_date, header.patient_sex
        ),
        accession_number=header.accession_number,
        study_date=header.study_date,
        study_time=header.study_time,
        description=header.description,
        station=header.station,
        flagged=row.flagged and not hidden,
        withheld=hidden,
        images=images,
        priors=[_prior(one) for one in worklist.priors(study_uid)],
        reviews=[] if hidden else _reviews(Reviews(database).of_study(study_uid)),
        report=None if hidden else _report(database, study_uid),
        may_review=may_review(person) and row.report_version > 0,
        vocabulary=_vocabulary(answered.values()),
    )


def heat_map(here: Site, person: Person, study_uid: str, sop_uid: str, name: str) -> MapView:
    """Return one finding's map. Raises NotFound, also where the result is withheld."""
    if withheld(here, person, study_uid):
        raise NotFound("The computer's result is withheld until your first read is stored.")
    for one in Studies(here.database).show(study_uid).instances:
        if one.instance.arrival.sop_instance_uid == sop_uid:
            values = _map_of(one.result, name)
            if values is not None and one.result.attention is not None:
                return MapView(one.result.attention.grid, values, _placement(one.result.attention))
    raise NotFound("No such map is kept.")


def _map_of(result: Result, name: str) -> list[float] | None:
    """Half precision in the order of the findings (`storage.records.Attention`)."""
    kept = result.attention
    names = [found.name for found in result.findings]
    if kept is None or name not in names:
        return None
    cells = kept.grid**2
    if len(kept.maps) != 2 * cells * len(names):
        return None
    start = 2 * cells * names.index(name)
    halves = struct.unpack(f"<{cells}e", kept.maps[start : start + 2 * cells])
    return [round(max(0.0, one), 6) if math.isfinite(one) else 0.0 for one in halves]


def _placement(kept: Attention) -> PlacementView:
    return PlacementView(kept.rows, kept.columns, kept.top, kept.left, kept.scale, kept.side)


def _image(stored: StoredImage, answered: AnsweredInstance, *, hidden: bool) -> ImageView:
    header, result = stored.header, answered.result
    place = f"/studies/{stored.study_instance_uid}"
    series, sop = stored.series_instance_uid, stored.sop_instance_uid
    kept = not stored.removed and series != ""
    return ImageView(
        sop_instance_uid=sop,
        series_instance_uid=series,
        instance_number=None if header is None else header.instance_number,
        rows=None if header is None else header.rows,
        columns=None if header is None else header.columns,
        view_position="" if header is None else header.view_position,
        file=f"/dicomweb{place}/series/{series}/instances/{sop}/file" if kept else None,
        status=result.status,
        reason_code=result.reason_code,
        reason=result.reason,
        model=result.bundle,
        looked_for=[Named(found.name, found.code_meaning) for found in result.findings],
        findings=[]
        if hidden
        else [
            _finding(found, result, f"/api/v1{place}/instances/{sop}/maps/{found.name}")
            for found in result.findings
        ],
    )


def _finding(found: Finding, result: Result, address: str) -> FindingView:
    return FindingView(
        name=found.name,
        meaning=found.code_meaning,
        probability=found.probability,
        threshold=found.threshold,
        present=found.present,
        doubt=found.doubt,
        map=None if result.attention is None else address,
    )


def _prior(row: WorklistRow) -> PriorView:
    return PriorView(
        study_instance_uid=row.study_instance_uid,
        study_date=row.header.study_date,
        study_time=row.header.study_time,
        description=row.header.description,
        images=row.images,
        url=f"/api/v1/studies/{row.study_instance_uid}",
    )


def _reviews(written: Iterable[Review]) -> list[ReviewView]:
    return [
        ReviewView(one.id, one.kind, one.state, one.reader.login, one.created_at, one.note)
        for one in written
        if one.state is not ReviewState.UNDONE
    ]


def _report(database: Database, study_uid: str) -> ReportView | None:
    state: ReportState | None = latest_report(database, study_uid)
    if state is None:
        return None
    return ReportView(
        version=state.version,
        created_at=state.created_at,
        sop_instance_uid=state.sop_instance_uid,
        verified=Reviews(database).verified(study_uid) is not None,
        deliveries=[DeliveryView(pacs, way) for pacs, way in state.deliveries],
    )


def _vocabulary(answered: Iterable[AnsweredInstance]) -> list[Named]:
    """The findings that may be added, and those that any image was looked at for."""
    found = {one.name: one.code_meaning for one in CATALOGUE.values()}
    for image in answered:
        found |= {one.name: one.code_meaning for one in image.result.findings}
    return [Named(name, meaning) for name, meaning in found.items()]
