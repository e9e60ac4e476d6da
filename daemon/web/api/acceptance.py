"""Acceptance tests, for programs: what a reader has to read, and the report of a closed test."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends

from daemon.web.access import AdminWriter, Person, Role, Scope, allow
from daemon.web.context import Here
from storage.acceptance import Acceptances
from storage.acceptance_records import AcceptanceId, AcceptanceState
from storage.errors import NotFound

router = APIRouter(prefix="/api/v1/acceptance", tags=["acceptance"])

Reader = Annotated[Person, Depends(allow(Role.RADIOLOGIST, scope=(Scope.STUDIES, Scope.REVIEWS)))]


@router.get("")
def to_read(here: Here, person: Reader) -> list[dict[str, Any]]:
    """List the open tests that the account reads in, with the studies of each.

    A study is read first by a review of the kind first_read; until then its result is withheld.
    """
    tests = Acceptances(here.database)
    return [
        {
            "id": one.id,
            "name": one.plan.name,
            "studies": [asdict(case) for case in tests.reading_list(one.id, person.account)],
        }
        for one in tests.of_reader(person.account)
        if one.state is AcceptanceState.OPEN
    ]


@router.get("/{number}/report")
def report(number: int, here: Here, _person: AdminWriter) -> dict[str, Any]:
    """Return the figures of a closed test."""
    made = Acceptances(here.database).report(AcceptanceId(number))
    if made is None:
        raise NotFound("There is no such report: a test has one once it is closed.")
    found: dict[str, Any] = json.loads(made.figures)
    return found
