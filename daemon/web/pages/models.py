"""Bundles with their model cards; promoting one and rolling back, each with a reason."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from daemon import promotion
from daemon.web import cards
from daemon.web.access import Administrator
from daemon.web.acts import Acts
from daemon.web.context import Here, Site
from daemon.web.told import go_on
from storage.errors import Refused
from storage.ledger import Ledger

router = APIRouter(include_in_schema=False)

Reason = Annotated[str, Form(max_length=1000)]


@router.get("/models")
def list_(request: Request, here: Here, _: Administrator) -> Response:
    """Show every bundle and what served when."""
    context = cards.overview(here.database)
    return here.templates.TemplateResponse(request, "models.html", context)


@router.get("/models/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show what serves and what each worker has loaded."""
    context = cards.overview(here.database)
    return here.templates.TemplateResponse(request, "models_live.html", context)


@router.get("/models/rollback")
def ask_rollback(request: Request, here: Here, _: Administrator) -> Response:
    """Ask for the reason of a roll-back."""
    return _ask_rollback(request, here)


@router.post("/models/rollback")
def rollback(request: Request, here: Here, person: Administrator, reason: Reason) -> Response:
    """Let the bundle that served before serve again."""
    try:
        line = Acts(here, person).rollback(reason)
    except Refused as error:
        return _ask_rollback(request, here, str(error), reason)
    done = f"{line.version} is to serve again. The workers load it now."
    return go_on(request, "/models", done)


@router.get("/models/{digest}")
def show(request: Request, digest: str, here: Here, _: Administrator) -> Response:
    """Show a bundle's model card."""
    context = {"model": cards.whole(here.database, digest)}
    return here.templates.TemplateResponse(request, "model.html", context)


@router.get("/models/{digest}/promote")
def ask_promote(request: Request, digest: str, here: Here, _: Administrator) -> Response:
    """Show what a promotion would change, and ask for its reason."""
    return _ask_promote(request, here, digest)


@router.post("/models/{digest}/promote")
def promote(
    request: Request,
    digest: str,
    here: Here,
    person: Administrator,
    reason: Reason,
    override: Annotated[bool, Form()] = False,
) -> Response:
    """Let a bundle serve."""
    try:
        line = Acts(here, person).promote(digest, reason, override=override)
    except Refused as error:
        return _ask_promote(request, here, digest, str(error), reason)
    return go_on(request, "/models", f"{line.version} is to serve. The workers load it now.")


def _ask_promote(
    request: Request, here: Site, digest: str, problem: str = "", reason: str = ""
) -> Response:
    found = cards.overview(here.database)
    serving = next((one for one in found["models"] if one["serving"]), None)
    now = None if serving is None else cards.whole(here.database, serving["digest"])
    context: dict[str, Any] = {
        "model": cards.whole(here.database, digest), "serving": now,
        "doubt": promotion.doubt(here.database, Ledger(here.database).find(digest)),
        "problem": problem, "reason": reason,
    }  # fmt: skip
    return _answer(request, here, "model_promote.html", context)


def _ask_rollback(request: Request, here: Site, problem: str = "", reason: str = "") -> Response:
    found = cards.overview(here.database)
    context = {
        "serving": found["serving"], "back_to": found["back_to"],
        "problem": problem, "reason": reason,
    }  # fmt: skip
    return _answer(request, here, "model_rollback.html", context)


def _answer(request: Request, here: Site, template: str, context: dict[str, Any]) -> Response:
    status = 409 if context["problem"] else 200
    return here.templates.TemplateResponse(request, template, context, status_code=status)
