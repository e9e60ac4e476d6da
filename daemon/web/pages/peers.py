"""Who we send to and who sends to us: each PACS asked on demand, each modality as it was seen."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from daemon.web.access import Administrator
from daemon.web.context import Here, Site
from daemon.web.live import LivePage
from daemon.web.peers import ask, standing
from storage import turned_away
from storage.traffic import callers

router = APIRouter(include_in_schema=False)

SEEN_OVER_S = 30 * 86400.0


@router.get("/peers")
def show(request: Request, here: Here, _: Administrator) -> Response:
    """Show the peers."""
    return _page.whole(request, here)


@router.get("/peers/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show what changes by itself."""
    return _page.part(request, here)


@router.post("/peers/{name}/ask")
def ask_now(request: Request, name: str, here: Here, _: Administrator) -> Response:
    """Ask a PACS whether it answers and what it takes."""
    context = {"name": name, "findings": ask(here, name), "at": here.clock()}
    return here.templates.TemplateResponse(request, "peer_asked.html", context)


def _found(here: Site) -> dict[str, Any]:
    return {
        "standing": standing(here),
        "callers": callers(here.database, here.clock() - SEEN_OVER_S),
        "allowed": here.settings.dicom.allowed_callers,
        "turned_away": turned_away.since(here.database, here.clock() - SEEN_OVER_S),
    }


_page = LivePage("peers", _found)
