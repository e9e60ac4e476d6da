"""Who we send to and who sends to us: each PACS asked on demand, each modality as it was seen."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from daemon.web.access import Person, Role, allow
from daemon.web.context import Site, site
from daemon.web.peers import ask, standing
from storage import turned_away
from storage.traffic import callers

router = APIRouter(include_in_schema=False)

Here = Annotated[Site, Depends(site)]
Administrator = Annotated[Person, Depends(allow(Role.ADMINISTRATOR))]

SEEN_OVER_S = 30 * 86400.0


@router.get("/peers")
def show(request: Request, here: Here, _: Administrator) -> Response:
    """Show the peers."""
    return here.templates.TemplateResponse(request, "peers.html", _live(here))


@router.get("/peers/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show what changes by itself."""
    return here.templates.TemplateResponse(request, "peers_live.html", _live(here))


@router.post("/peers/{name}/ask")
def ask_now(request: Request, name: str, here: Here, _: Administrator) -> Response:
    """Ask a PACS whether it answers and what it takes."""
    context = {"name": name, "findings": ask(here, name), "at": here.clock()}
    return here.templates.TemplateResponse(request, "peer_asked.html", context)


def _live(here: Site) -> dict[str, Any]:
    return {
        "standing": standing(here),
        "callers": callers(here.database, here.clock() - SEEN_OVER_S),
        "allowed": here.settings.dicom.allowed_callers,
        "turned_away": turned_away.since(here.database, here.clock() - SEEN_OVER_S),
    }
