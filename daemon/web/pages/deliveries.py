"""The outbox: what waits for each PACS, and what it has refused for good, with retry."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from daemon.web.access import Administrator
from daemon.web.acts import Acts
from daemon.web.context import Here, Site
from daemon.web.peers import standing
from daemon.web.told import go_on
from storage.errors import Refused
from storage.outbox import Outbox
from storage.records import DeliveryId, DeliveryState

router = APIRouter(include_in_schema=False)


RECENT = 25
GIVEN_UP = 200


@router.get("/deliveries")
def show(request: Request, here: Here, _: Administrator) -> Response:
    """Show the outbox."""
    return _page(request, here)


@router.get("/deliveries/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show what changes by itself."""
    return here.templates.TemplateResponse(request, "deliveries_live.html", _live(here))


@router.post("/deliveries/{delivery}/retry")
def retry(request: Request, delivery: int, here: Here, person: Administrator) -> Response:
    """Send again what a PACS has refused for good."""
    try:
        Acts(here, person).retry_delivery(DeliveryId(delivery))
    except Refused as error:
        return _page(request, here, problem=str(error))
    return go_on(request, "/deliveries", f"Delivery {delivery} is sent again.")


def _page(request: Request, here: Site, problem: str = "") -> Response:
    context = {**_live(here), "problem": problem}
    status = 409 if problem else 200
    return here.templates.TemplateResponse(request, "deliveries.html", context, status_code=status)


def _live(here: Site) -> dict[str, Any]:
    outbox = Outbox(here.database)
    return {
        "standing": standing(here),
        "dead": outbox.rows([DeliveryState.DEAD], GIVEN_UP),
        "not_taken": outbox.rows([DeliveryState.NOT_TAKEN], RECENT),
        "recent": outbox.rows(None, RECENT),
    }
