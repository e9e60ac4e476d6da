"""The page of a study: the patient's banner, and the place for the viewer and the review."""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import Response

from daemon.web.access import Radiologist
from daemon.web.context import Here
from daemon.web.templating import HERE
from storage.audit import Audit
from storage.worklist import Worklist

router = APIRouter(include_in_schema=False)

SEXES = {"F": "female", "M": "male", "O": "other"}


@router.get("/studies/{study_uid}")
def show(
    request: Request,
    study_uid: Annotated[str, Path(pattern=r"^[0-9.]{1,64}$")],
    here: Here,
    person: Radiologist,
) -> Response:
    """Show a study to be read and reviewed."""
    row = Worklist(here.database).study(study_uid)
    if row is None:
        raise HTTPException(404, "There is no such study.")
    Audit(here.database).study_read(person.login, study_uid, here.clock())
    context = {
        "study_uid": study_uid,
        "header": row.header,
        "sex": SEXES.get(row.header.patient_sex, row.header.patient_sex),
        "born": day(row.header.birth_date),
        "taken": f"{day(row.header.study_date)} {hour(row.header.study_time)}".strip(),
        "viewer": viewer(),
    }
    return here.templates.TemplateResponse(request, "study.html", context)


@cache
def viewer() -> dict[str, Any]:
    """What to load of the viewer's build: names that change with their content."""
    path = HERE / "static" / "viewer" / "manifest.json"
    built: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {"entry": built["entry"], "preload": built["preload"]}


def day(text: str) -> str:
    """Show a date of VR DA; what is none is shown as it is."""
    if len(text) == 8 and text.isdecimal():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text


def hour(text: str) -> str:
    """Show hours and minutes of VR TM."""
    return f"{text[:2]}:{text[2:4]}" if len(text) >= 4 and text[:4].isdecimal() else ""
