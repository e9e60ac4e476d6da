"""The worklist: what is to be read, the most urgent first.

What is looked for may be a patient's name, so that it is posted and never part of a URL.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from daemon.web.access import Person, Radiologist
from daemon.web.blinded import listed, withheld
from daemon.web.context import Here, Site
from daemon.web.filters import BLINDED, STATES, Filters, in_force, keep
from daemon.web.shown import Shown, shown
from storage.acceptance import Acceptances
from storage.audit import Audit
from storage.errors import UnknownPlace
from storage.people import Action
from storage.worklist import Page, Worklist

router = APIRouter(include_in_schema=False)


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
def show(request: Request, here: Here, person: Radiologist) -> Response:
    """The whole page, with what is most urgent, as it was narrowed last."""
    return _page(request, here, person, in_force(request, person), "")


@router.post("/worklist")
def find(
    request: Request, here: Here, person: Radiologist, wanted: Wanted, after: After = ""
) -> Response:
    """The list narrowed by the form, or the rows after a key: a part of the page for htmx."""
    answer = _page(request, here, person, wanted, after)
    keep(request, wanted)
    if wanted.text:
        Audit(here.database).append(
            person.login, Action.WORKLIST_SEARCHED, detail={"by": "worklist"}, at=here.clock()
        )
    if "hx-request" in request.headers or after:
        return answer
    return RedirectResponse("/worklist", HTTPStatus.SEE_OTHER)


@router.post("/worklist/clear")
def clear(request: Request, person: Radiologist) -> Response:
    """Show every study again."""
    del person
    keep(request, Filters())
    return RedirectResponse("/worklist", HTTPStatus.SEE_OTHER)


@router.post("/worklist/changes")
def changes(
    request: Request,
    here: Here,
    person: Radiologist,
    wanted: Wanted,
    after: After = "",
    marker: Annotated[str, Form()] = "",
) -> Response:
    """The rows again where anything has changed since they were made; else nothing."""
    if marker == _marker(Worklist(here.database)):
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return _page(request, here, person, wanted, after)


@router.get("/studies/{study}/next")
def go_on(request: Request, here: Here, person: Radiologist, study: str) -> Response:
    """Go to the study below this one in the list as it is narrowed, else to the list."""
    case = Acceptances(here.database).next_case(person.account, study)
    if case is not None:
        test, uid = case
        path = f"/studies/{uid}" if uid else f"/acceptance/{test}"
        return RedirectResponse(path, HTTPStatus.SEE_OTHER)
    query = listed(here, person, in_force(request, person))
    following = Worklist(here.database).next_after(study, query)
    if following is None:
        return RedirectResponse("/worklist", HTTPStatus.SEE_OTHER)
    return RedirectResponse(f"/studies/{following.study_instance_uid}", HTTPStatus.SEE_OTHER)


def _page(request: Request, here: Site, person: Person, wanted: Filters, after: str) -> Response:
    worklist = Worklist(here.database)
    marker = _marker(worklist)  # before the rows: what comes in between is asked for again
    try:
        page = worklist.page(listed(here, person, wanted), after or None)
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
            state: text for state, text in STATES.items() if not person.blinded or state in BLINDED
        },
    }
    return here.templates.TemplateResponse(request, "worklist.html", context)


def _rows(here: Site, person: Person, page: Page) -> list[Shown]:
    now = here.clock()
    return [
        shown(
            row,
            now,
            withheld=person.blinded and withheld(here, person, row.study_instance_uid),
        )
        for row in page.rows
    ]


def _marker(worklist: Worklist) -> str:
    return "-".join(str(number) for number in worklist.marker())
