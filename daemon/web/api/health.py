"""Health: in detail for a monitor with a token, and whether the process lives for anybody."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from daemon.web.access import Person, Role, Scope, allow
from daemon.web.context import Here
from daemon.web.health import Health, look

router = APIRouter(tags=["health"])

Monitor = Annotated[Person, Depends(allow(Role.ADMINISTRATOR, scope=Scope.HEALTH))]


@router.get("/api/v1/health", summary="How the service is")
def health(here: Here, person: Monitor, response: Response) -> Health:
    """Say which processes run, what waits, and how disk and database are.

    The status is 200 where all is good, 503 where the answer's `faults` say otherwise.
    """
    del person
    found = look(here)
    response.status_code = 200 if found.good else 503
    return found


@router.get("/health/live", summary="Whether the process lives", include_in_schema=False)
async def live() -> Response:
    """Answer, and say nothing else."""
    return Response("live\n", media_type="text/plain")
