"""How far readers agree: Cohen's kappa for each finding and pair of readers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from daemon.web.access import Person, Role, Scope, allow
from daemon.web.agreed import Pair, pairs
from daemon.web.context import Here
from storage.review_records import ReviewKind

router = APIRouter(prefix="/api/v1", tags=["reviews"])

Looker = Annotated[
    Person,
    Depends(allow(Role.RADIOLOGIST, Role.ADMINISTRATOR, scope=(Scope.STUDIES, Scope.ADMIN))),
]


@router.get("/agreement")
def agreement(
    here: Here,
    _person: Looker,
    since: Annotated[float, Query(ge=0, description="UNIX seconds.")] = 0.0,
    until: Annotated[float | None, Query(ge=0, description="UNIX seconds; now.")] = None,
    kind: Annotated[ReviewKind | None, Query(description="Of one kind of reading alone.")] = None,
) -> dict[str, Any]:
    """Compare pairs of readers on the images that both have judged; no patient data."""
    end = here.clock() if until is None else until
    return {
        "since": since,
        "until": end,
        "kind": kind,
        "pairs": [_json(one) for one in pairs(here, since, end, kind)],
    }


def _json(pair: Pair) -> dict[str, Any]:
    return {
        **asdict(pair.read),
        "meaning": pair.meaning,
        "images": pair.read.images,
        "same": pair.same,
        "kappa": None if pair.kappa is None else asdict(pair.kappa),
    }
