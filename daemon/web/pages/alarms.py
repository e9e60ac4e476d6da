"""Alarms with what to do about each, how stations stand, and what reviews say of findings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from daemon import watched
from daemon.web.access import Administrator
from daemon.web.acts import Acts
from daemon.web.context import Here, Site
from daemon.web.told import go_on
from storage.errors import NotFound, Refused

router = APIRouter(include_in_schema=False)

CLOSED = 50
"""Alarms that are over and still shown."""

Text = Annotated[str, Form(max_length=64)]
Reason = Annotated[str, Form(max_length=1000)]


@router.get("/alarms")
def list_(request: Request, here: Here, _: Administrator) -> Response:
    """Show the alarms, the stations and the findings."""
    return _page(request, here)


@router.get("/alarms/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show what is open now."""
    return here.templates.TemplateResponse(request, "alarms_live.html", _open(here))


@router.post("/alarms/{number}/acknowledge")
def acknowledge(request: Request, number: int, here: Here, person: Administrator) -> Response:
    """Note that a person knows of an alarm."""
    try:
        Acts(here, person).acknowledge_alarm(number)
    except NotFound as error:
        return _page(request, here, str(error))
    return go_on(request, "/alarms", f"Alarm {number} is acknowledged. It stays until it is over.")


@router.post("/alarms/{number}/close")
def close(
    request: Request, number: int, here: Here, person: Administrator, reason: Reason = ""
) -> Response:
    """Close an alarm by a person's word."""
    try:
        Acts(here, person).close_alarm(number, reason)
    except (NotFound, Refused) as error:
        return _page(request, here, str(error))
    return go_on(request, "/alarms", f"Alarm {number} is closed. Should it last, it opens anew.")


@router.post("/alarms/stations/accept")
def accept(request: Request, here: Here, person: Administrator, station: Text) -> Response:
    """Take a station's images for its reference."""
    try:
        count = Acts(here, person).accept_station(station)
    except (NotFound, Refused) as error:
        return _page(request, here, str(error))
    return go_on(request, "/alarms", f"{count} images of {station} become its reference now.")


@router.post("/alarms/findings/lift")
def lift(
    request: Request,
    here: Here,
    person: Administrator,
    digest: Text,
    finding: Text,
    reason: Reason = "",
) -> Response:
    """Let a finding in doubt flag again."""
    try:
        Acts(here, person).lift_doubt(digest, finding, reason)
    except (NotFound, Refused) as error:
        return _page(request, here, str(error))
    return go_on(request, "/alarms", f"{finding} is no longer in doubt, for what is analysed now.")


def _open(here: Site) -> dict[str, Any]:
    """What changes by itself: the open alarms alone."""
    return {"alarms": watched.alarms(here.database, CLOSED)}


def _page(request: Request, here: Site, problem: str = "") -> Response:
    context = {**_open(here), "watched": watched.overview(here.database), "problem": problem}
    status = 409 if problem else 200
    return here.templates.TemplateResponse(request, "alarms.html", context, status_code=status)
