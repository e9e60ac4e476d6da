"""A candidate's trial on its bundle's page: begun, watched, stopped."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from daemon import trial_shown
from daemon.web import cards
from daemon.web.access import Administrator
from daemon.web.acts import Acts
from daemon.web.context import Here, Site
from daemon.web.told import go_on
from storage.errors import Refused

router = APIRouter(include_in_schema=False)


@router.get("/models/{digest}/shadow")
def show(request: Request, digest: str, here: Here, _: Administrator) -> Response:
    """Show the last trial of a bundle, its figures and its picture."""
    return _answer(request, here, digest)


@router.post("/models/{digest}/shadow")
def start(
    request: Request,
    digest: str,
    here: Here,
    person: Administrator,
    days: Annotated[float, Form(gt=0, le=365)],
    images: Annotated[int, Form(ge=1, le=10000)],
) -> Response:
    """Begin a trial."""
    try:
        made = Acts(here, person).start_trial(digest, days, images)
    except Refused as error:
        return _answer(request, here, digest, str(error))
    told = f"{made['version']} classifies beside {made['against']} from now on."
    return go_on(request, f"/models/{digest}/shadow", told)


@router.post("/models/{digest}/shadow/stop")
def stop(
    request: Request,
    digest: str,
    here: Here,
    person: Administrator,
    reason: Annotated[str, Form(max_length=1000)],
) -> Response:
    """Stop the trial that runs."""
    try:
        Acts(here, person).stop_trial(digest, reason)
    except Refused as error:
        return _answer(request, here, digest, str(error))
    return go_on(request, f"/models/{digest}/shadow", "The trial is stopped; its results stay.")


def _answer(request: Request, here: Site, digest: str, problem: str = "") -> Response:
    found = trial_shown.shown(here.database, digest)
    trial = found["trial"]
    context: dict[str, Any] = {
        **found, "model": cards.whole(here.database, digest), "problem": problem,
        "training": here.settings.training,
        "dots": [] if trial is None else trial_shown.dots(here.database, trial["id"]),
    }  # fmt: skip
    status = 409 if problem else 200
    return here.templates.TemplateResponse(request, "shadow.html", context, status_code=status)
