"""Acceptance tests: drawn and closed by an administrator, read by radiologists, then reported.

Before it is closed nobody is shown a result: who could see how a test goes could end it when it
pleases.
"""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from daemon.web.acceptance_acts import CommandFailed, command
from daemon.web.access import Administrator, Person, Radiologist, Role, allow
from daemon.web.context import Here, Site
from daemon.web.told import go_on
from storage.acceptance import Acceptances
from storage.acceptance_records import ANY, AcceptanceId, AcceptanceState, AcceptanceTest
from storage.accounts import Accounts
from storage.errors import NotFound, Refused
from storage.ledger import Ledger

router = APIRouter(prefix="/acceptance", include_in_schema=False)

Either = Annotated[Person, Depends(allow(Role.RADIOLOGIST, Role.ADMINISTRATOR))]
Text = Annotated[str, Form(max_length=64)]
Share = Annotated[float, Form(gt=0, lt=1)]


@router.get("")
def list_(request: Request, here: Here, person: Either) -> Response:
    """Show the tests that concern a person; to an administrator also a form for a new one."""
    return _page(request, here, person)


@router.post("")
def draw(
    request: Request,
    here: Here,
    person: Administrator,
    name: Text,
    half_width: Share = 0.1,
    finding: Text = ANY,
    sensitivity: Share = 0.8,
    specificity: Share = 0.8,
    readers: Annotated[list[str] | None, Form(max_length=64)] = None,
    since: Annotated[date | None, Form()] = None,
    until: Annotated[date | None, Form()] = None,
) -> Response:
    """Draw a sample."""
    known = {one.login for one in _radiologists(here)}
    chosen = [login for login in readers or () if login in known]
    options = [
        f"--half-width={half_width}", f"--finding={finding}", f"--sensitivity={sensitivity}",
        f"--specificity={specificity}", *(f"--reader={login}" for login in chosen),
        *(f"--{word}={day}" for word, day in (("since", since), ("until", until)) if day),
    ]  # fmt: skip
    try:
        if not chosen:
            raise CommandFailed("A test needs at least one reader.")
        made = command(here, person, "draw", name.strip(), *options)
    except CommandFailed as error:
        given = {
            "name": name, "half_width": half_width, "finding": finding, "readers": chosen,
            "sensitivity": sensitivity, "specificity": specificity,
            "since": since or "", "until": until or "",
        }  # fmt: skip
        return _page(request, here, person, problem=str(error), given=given)
    done = f"{made['cases']} studies are drawn. The readers find them on this page."
    return go_on(request, "/acceptance", done)


@router.get("/{number}")
def show(request: Request, number: int, here: Here, person: Either) -> Response:
    """Show a test: the reading list, or progress; the figures once it is closed."""
    return _one(request, here, person, number)


@router.get("/{number}/next")
def next_case(number: int, here: Here, person: Radiologist) -> Response:
    """Go to the first study that is to be read yet, else to the list."""
    for one in Acceptances(here.database).reading_list(AcceptanceId(number), person.account):
        if one.read_at is None:
            return RedirectResponse(f"/studies/{one.study_instance_uid}", 303)
    return RedirectResponse(f"/acceptance/{number}", 303)


@router.post("/{number}/close")
def close(
    request: Request,
    number: int,
    here: Here,
    person: Administrator,
    reason: Annotated[str, Form(max_length=500)] = "",
    incomplete: Annotated[bool, Form()] = False,
) -> Response:
    """End the reading, and have the report made."""
    tests = Acceptances(here.database)
    try:
        test = tests.close(
            AcceptanceId(number), person.login, reason, here.clock(), incomplete=incomplete
        )
    except Refused as error:
        return _one(request, here, person, number, problem=str(error))
    return _report(request, here, person, test)


@router.post("/{number}/report")
def make(request: Request, number: int, here: Here, person: Administrator) -> Response:
    """Have the report of a closed test made, where it was not."""
    return _report(request, here, person, Acceptances(here.database).show(AcceptanceId(number)))


@router.get("/{number}/report.{form}")
def download(number: int, form: str, here: Here, person: Either) -> Response:
    """Give the report as a file, to be printed and signed, or for a program."""
    test = _allowed(here, person, number)
    made = Acceptances(here.database).report(test.id)
    if made is None or form not in ("html", "json"):
        raise NotFound("There is no such report.")
    text, kind = (made.page, "text/html") if form == "html" else (made.figures, "application/json")
    name = f"acceptance-{number}.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text, media_type=f"{kind}; charset=utf-8", headers=headers)


def _report(request: Request, here: Site, person: Person, test: AcceptanceTest) -> Response:
    try:
        # close changes nothing of a closed test, and makes the report that is missing
        command(here, person, "close", test.plan.name)
    except CommandFailed as error:
        told = f"The test is closed, and its report could not be made: {error}"
        return _one(request, here, person, test.id, problem=told)
    return go_on(request, f"/acceptance/{test.id}", "The test is closed. This is its report.")


def _allowed(here: Site, person: Person, number: int) -> AcceptanceTest:
    """The test, which a radiologist sees as one of its readers alone. Raises NotFound."""
    test = Acceptances(here.database).show(AcceptanceId(number))
    reads = any(one.account == person.account for one in test.readers)
    if person.role is not Role.ADMINISTRATOR and not reads:
        raise NotFound(f"You read in no acceptance test {number}.")
    return test


def _one(request: Request, here: Site, person: Person, number: int, problem: str = "") -> Response:
    test = _allowed(here, person, number)
    tests, reads = Acceptances(here.database), person.role is Role.RADIOLOGIST
    open_ = test.state is AcceptanceState.OPEN
    made = None if open_ else tests.report(test.id)
    context: dict[str, Any] = {
        "test": test,
        "open": open_,
        "cases": tests.reading_list(test.id, person.account) if reads and open_ else [],
        "reads": reads,
        "report": None if made is None else json.loads(made.figures),
        "pictures": {} if made is None else json.loads(made.pictures),
        "problem": problem,
    }
    status = 409 if problem else 200
    return here.templates.TemplateResponse(
        request, "acceptance_test.html", context, status_code=status
    )


def _page(
    request: Request,
    here: Site,
    person: Person,
    problem: str = "",
    given: dict[str, Any] | None = None,
) -> Response:
    tests, administers = Acceptances(here.database), person.role is Role.ADMINISTRATOR
    serving = Ledger(here.database).serving() if administers else None
    standard = {
        "name": "", "half_width": 0.1, "finding": ANY, "readers": [], "sensitivity": 0.8,
        "specificity": 0.8, "since": "", "until": "",
    }  # fmt: skip
    context: dict[str, Any] = {
        "tests": tests.all() if administers else tests.of_reader(person.account),
        "administers": administers,
        "serving": serving,
        "findings": [ANY, *(serving.thresholds if serving is not None else ())],
        "radiologists": _radiologists(here) if administers else [],
        "given": standard | (given or {}),
        "problem": problem,
    }
    status = 409 if problem else 200
    return here.templates.TemplateResponse(request, "acceptance.html", context, status_code=status)


def _radiologists(here: Site) -> list[Any]:
    return [
        one
        for one in Accounts(here.database).rows()
        if one.role is Role.RADIOLOGIST and one.disabled_at is None
    ]
