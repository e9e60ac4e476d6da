"""The page of agreement between readers; it shows no patient."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from daemon.web.access import Person, Role, allow
from daemon.web.agreed import pairs
from daemon.web.context import Here
from storage.review_records import ReviewKind

router = APIRouter(include_in_schema=False)

Looker = Annotated[Person, Depends(allow(Role.RADIOLOGIST, Role.ADMINISTRATOR))]
SHOWN = timedelta(days=365)


@router.get("/agreement")
def agreement(
    request: Request,
    here: Here,
    _person: Looker,
    since: Annotated[date | None, Query()] = None,
    until: Annotated[date | None, Query()] = None,
    kind: Annotated[str, Query(max_length=16)] = "",
) -> Response:
    """Show kappa for each finding and pair of readers, of a year unless told otherwise."""
    last = until or date.fromtimestamp(here.clock())
    first = since or last - SHOWN
    chosen = ReviewKind(kind) if kind in set(ReviewKind) else None
    context = {
        "pairs": pairs(here, _start(first), _start(last + timedelta(days=1)), chosen),
        "since": first.isoformat(),
        "until": last.isoformat(),
        "kind": chosen.value if chosen else "",
    }
    return here.templates.TemplateResponse(request, "agreement.html", context)


def _start(day: date) -> float:
    """The first moment of a day in the service's own time zone."""
    return datetime(day.year, day.month, day.day).astimezone().timestamp()
