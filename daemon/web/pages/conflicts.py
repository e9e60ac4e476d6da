"""Where words differ: of two readers, or of a reader and an imported report."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from daemon.findings import CATALOGUE
from daemon.web.access import Person, Role, allow
from daemon.web.blinded import withheld
from daemon.web.context import Here
from storage.conflicts import conflicts

router = APIRouter(include_in_schema=False)

MOST = 200


@router.get("/agreement/conflicts")
def show(
    request: Request,
    here: Here,
    person: Annotated[Person, Depends(allow(Role.RADIOLOGIST, Role.ADMINISTRATOR))],
) -> Response:
    """List conflicts; what is withheld from a reader is not among them, nor any patient's name."""
    found = conflicts(here.database, MOST)
    reads = person.role is Role.RADIOLOGIST
    hidden = {
        uid
        for uid in {one.study_instance_uid for one in found}
        if reads and withheld(here, person, uid)
    }
    context = {
        "conflicts": [one for one in found if one.study_instance_uid not in hidden],
        "meanings": {name: coded.code_meaning for name, coded in CATALOGUE.items()},
        "reads": reads,
        "most": MOST,
    }
    return here.templates.TemplateResponse(request, "conflicts.html", context)
