"""The worklist: what is to be read, the most urgent first.

What is looked for may be a patient's name, so that it is posted and never part of a URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from daemon.web.access import Person, Role, allow
from daemon.web.blinded import withheld
from daemon.web.context import Site, site
from daemon.web.shown import Shown, shown
from storage.audit import Audit
from storage.errors import UnknownPlace
from storage.people import Action
from storage.worklist import ListState, Page, Query, Worklist

router = APIRouter(include_in_schema=False)
Here = Annotated[Site, Depends(site)]
Reader = Annotated[Person, Depends(allow(Role.RADIOLOGIST))]

LONGEST = 200  # characters of a search
_STATES = {
    ListState.TO_REVIEW: "To review",
    ListState.FLAGGED: "Flagged, to review",
    ListState.NOT_ANALYSED: "With images not analysed",
    ListState.REVIEWED: "Reviewed",
}
_BLINDED = (ListState.TO_REVIEW, ListState.REVIEWED)


@dataclass(frozen=True, slots=True)
class Filters:
    """The form above the list, as it was filled in."""

    text: str = ""
    state: str = ""
    finding: str = ""
    station: str = ""
    first_date: str = ""
    last_date: str = ""
    reviewed_by: str = ""

    def query(self, *, blinded: bool) -> Query:
        """Return what is asked for. Raises 422 and names the field that is wrong."""
        if self.state not in ("", *_STATES):
            raise HTTPException(422, f"State is one of {', '.join(_STATES)}.")
        state = ListState(self.state) if self.state else None
        if blinded and (self.finding or (state is not None and state not in _BLINDED)):
            raise HTTPException(403, "A blinded list is not narrowed by the computer's result.")
        return Query(
            text=self.text[:LONGEST],
            state=state,
            finding=self.finding or None,
            station=self.station or None,
            first_date=_day("From", self.first_date),
            last_date=_day("To", self.last_date),
            reviewed_by=self.reviewed_by or None,
            blinded=blinded,
        )


def filters(
    text: Annotated[str, Form()] = "",
    state: Annotated[str, Form()] = "",
    finding: Annotated[str, Form()] = "",
    station: Annotated[str, Form()] = "",
    first_date: Annotated[str, Form()] = "",
    last_date: Annotated[str, Form()] = "",
    reviewed_by: Annotated[str, Form()] = "",
) -> Filters:
    """Read the form."""
    return Filters(text, state, finding, station, first_date, last_date, reviewed_by)


Wanted = Annotated[Filters, Depends(filters)]
After = Annotated[str, Form()]


@router.get("/worklist")
def show(request: Request, here: Here, person: Reader) -> Response:
    """The whole page, with what is most urgent."""
    return _page(request, here, person, Filters(), "")


@router.post("/worklist")
def find(
    request: Request, here: Here, person: Reader, wanted: Wanted, after: After = ""
) -> Response:
    """The list narrowed by the form, or the rows after a key: a part of the page for htmx."""
    answer = _page(request, here, person, wanted, after)
    if wanted.text:
        Audit(here.database).append(
            person.login, Action.WORKLIST_SEARCHED, detail={"by": "worklist"}, at=here.clock()
        )
    return answer


@router.post("/worklist/changes")
def changes(
    request: Request,
    here: Here,
    person: Reader,
    wanted: Wanted,
    after: After = "",
    marker: Annotated[str, Form()] = "",
) -> Response:
    """The rows again where anything has changed since they were made; else nothing."""
    if marker == _marker(Worklist(here.database)):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return _page(request, here, person, wanted, after)


@router.get("/studies/{study}/next")
def go_on(here: Here, person: Reader, study: str) -> Response:
    """Go to the study below this one among those to be reviewed, else to the list."""
    following = Worklist(here.database).next_after(study, Query(blinded=person.blinded))
    if following is None:
        return RedirectResponse("/worklist", HTTPStatus.SEE_OTHER)
    return RedirectResponse(f"/studies/{following.study_instance_uid}", HTTPStatus.SEE_OTHER)


def _page(request: Request, here: Site, person: Person, wanted: Filters, after: str) -> Response:
    worklist = Worklist(here.database)
    marker = _marker(worklist)  # before the rows: what comes in between is asked for again
    try:
        page = worklist.page(wanted.query(blinded=person.blinded), after or None)
    except UnknownPlace as error:
        raise HTTPException(422, str(error)) from None
    context = {
        "rows": _rows(here, person, page),
        "next": page.next or "",
        "after": after,
        "marker": marker,
        "blinded": person.blinded,
        "counts": worklist.counts(),
        "wanted": wanted,
    }
    if "hx-request" in request.headers:
        return here.templates.TemplateResponse(request, "worklist_rows.html", context)
    context |= {
        "choices": worklist.choices(),
        "states": {
            state: text
            for state, text in _STATES.items()
            if not person.blinded or state in _BLINDED
        },
    }
    return here.templates.TemplateResponse(request, "worklist.html", context)


def _rows(here: Site, person: Person, page: Page) -> list[Shown]:
    now = here.clock()
    return [
        shown(row, now, withheld=withheld(here, person, row.study_instance_uid))
        for row in page.rows
    ]


def _marker(worklist: Worklist) -> str:
    return "-".join(str(number) for number in worklist.marker())


def _day(field: str, value: str) -> str | None:
    """Read a date as a browser's field gives it."""
    if not value:
        return None
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", value):
        raise HTTPException(422, f"{field} is a date, for instance 2025-03-01.")
    return value.replace("-", "")
