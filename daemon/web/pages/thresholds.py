"""Thresholds of the serving bundle: what another one would have done, before it is saved."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import Response

from daemon.web import cards
from daemon.web.access import Administrator
from daemon.web.acts import Acts
from daemon.web.context import Here, Site
from daemon.web.told import go_on
from storage.errors import Refused
from storage.ledger import Ledger

router = APIRouter(include_in_schema=False)

Value = Annotated[float, Query(gt=0, le=1)]


@router.get("/thresholds")
def serving(request: Request, here: Here, _: Administrator) -> Response:
    """Show the thresholds of what serves."""
    found = Ledger(here.database).serving()
    if found is None:
        return here.templates.TemplateResponse(request, "thresholds_none.html", {})
    return _page(request, here, found.model.digest)


@router.get("/thresholds/{digest}")
def of_bundle(request: Request, digest: str, here: Here, _: Administrator) -> Response:
    """Show the thresholds of a bundle."""
    return _page(request, here, digest)


@router.get("/thresholds/{digest}/{finding}/what-if")
def what_if(
    request: Request, digest: str, finding: str, value: Value, here: Here, _: Administrator
) -> Response:
    """Show what a threshold would have done in the last 30 days."""
    found = asdict(cards.compare(here.database, digest, finding, value, here.clock()))
    return here.templates.TemplateResponse(request, "what_if.html", {"what_if": found})


@router.post("/thresholds/{digest}/{finding}")
def change(
    request: Request,
    digest: str,
    finding: str,
    here: Here,
    person: Administrator,
    value: Annotated[float, Form()],
    reason: Annotated[str, Form(max_length=1000)],
    own: Annotated[bool, Form()] = False,
) -> Response:
    """Save a threshold; `own` puts the bundle's back."""
    try:
        Acts(here, person).set_threshold(digest, finding, None if own else value, reason)
    except Refused as error:
        return _page(request, here, digest, f"{finding}: {error}")
    named = {one["name"]: one["meaning"] for one in cards.whole(here.database, digest)["findings"]}
    done = (
        f"The threshold of {named[finding]} is changed. It holds for what is analysed from now on."
    )
    return go_on(request, f"/thresholds/{digest}", done)


def _page(request: Request, here: Site, digest: str, problem: str = "") -> Response:
    model = cards.whole(here.database, digest)
    context = {"model": model, "problem": problem}
    status = 409 if problem else 200
    return here.templates.TemplateResponse(request, "thresholds.html", context, status_code=status)
