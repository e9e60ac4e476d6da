"""Studies and their results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Request

from daemon.web.access import StudyReader
from daemon.web.blinded import listed
from daemon.web.context import Here
from daemon.web.filters import in_force
from daemon.web.study_view import MapView, StudyView, heat_map, study_view
from storage.acceptance import Acceptances
from storage.audit import Audit
from storage.worklist import Worklist

router = APIRouter(prefix="/api/v1/studies", tags=["studies"])

Uid = Annotated[str, Path(pattern=r"^[0-9.]{1,64}$", description="A DICOM UID.")]


@dataclass(frozen=True, slots=True)
class NextStudy:
    """The study to read next, none when all are reviewed."""

    study_instance_uid: str | None


@router.get("/{study_uid}")
def show(study_uid: Uid, here: Here, person: StudyReader) -> StudyView:
    """A study with its images, results, earlier studies, reviews and report."""
    view = study_view(here, person, study_uid)
    Audit(here.database).study_read(person.login, study_uid, here.clock())
    return view


@router.get("/{study_uid}/next")
def following(study_uid: Uid, request: Request, here: Here, person: StudyReader) -> NextStudy:
    """The study that the worklist, as it is narrowed, has after this one; else of those to be
    reviewed. Of an open acceptance test, its next study."""
    case = Acceptances(here.database).next_case(person.account, study_uid)
    if case is not None:
        return NextStudy(case[1] or None)
    query = listed(here, person, in_force(request, person))
    row = Worklist(here.database).next_after(study_uid, query)
    return NextStudy(None if row is None else row.study_instance_uid)


@router.get("/{study_uid}/instances/{sop_uid}/maps/{finding}")
def show_map(
    study_uid: Uid,
    sop_uid: Uid,
    finding: Annotated[str, Path(max_length=64)],
    here: Here,
    person: StudyReader,
) -> MapView:
    """Where the model looked for a finding (Grad-CAM), on its coarse grid, and where that lies."""
    view = heat_map(here, person, study_uid, sop_uid, finding)
    Audit(here.database).study_read(person.login, study_uid, here.clock())
    return view
