"""The outbox: what waits for each PACS, and what it has refused for good, with retry."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from daemon.web.access import Administrator
from daemon.web.acts import Acts
from daemon.web.context import Here, Site
from daemon.web.live import LivePage
from daemon.web.peers import standing
from storage.outbox import Outbox
from storage.records import DeliveryId, DeliveryState

router = APIRouter(include_in_schema=False)

RECENT = 25
GIVEN_UP = 200


@router.get("/deliveries")
def show(request: Request, here: Here, _: Administrator) -> Response:
    """Show the outbox."""
    return _page.whole(request, here)


@router.get("/deliveries/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show what changes by itself."""
    return _page.part(request, here)


@router.post("/deliveries/{delivery}/retry")
def retry(request: Request, delivery: int, here: Here, person: Administrator) -> Response:
    """Send again what a PACS has refused for good."""
    acts = Acts(here, person)
    done = f"Delivery {delivery} is sent again."
    return _page.act(request, here, lambda: acts.retry_delivery(DeliveryId(delivery)), done)


def _found(here: Site) -> dict[str, Any]:
    outbox = Outbox(here.database)
    return {
        "standing": standing(here),
        "dead": outbox.rows([DeliveryState.DEAD], GIVEN_UP),
        "not_taken": outbox.rows([DeliveryState.NOT_TAKEN], RECENT),
        "recent": outbox.rows(None, RECENT),
    }


_page = LivePage("deliveries", _found)
