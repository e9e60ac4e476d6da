"""The audit trail: search, and the check of its chain."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from daemon import logs
from daemon.events import Event
from daemon.web.access import Person, Role, allow
from daemon.web.context import Here, Site
from daemon.web.gate import Door, Gate
from storage.audit import AuditQuery, Verified
from storage.people import Action

router = APIRouter(prefix="/audit", include_in_schema=False)

PAGE = 100  # rows
DAY_S = 86400.0

Reader = Annotated[Person, Depends(allow(Role.ADMINISTRATOR, Role.AUDITOR))]
Text = Annotated[str, Form(max_length=255)]


@router.get("")
def show(request: Request, here: Here, door: Door, person: Reader) -> Response:
    """Show the newest rows."""
    del person
    return _page(request, here, door, AuditQuery(), {})


@router.post("")
def search(
    request: Request,
    here: Here,
    door: Door,
    person: Reader,
    since: Text = "",
    until: Text = "",
    actor: Text = "",
    action: Text = "",
    subject: Text = "",
    before: Annotated[int | None, Form()] = None,
) -> Response:
    """Show the rows that fit. A search is a row of its own; paging is not."""
    typed = {
        "since": since, "until": until, "actor": actor, "action": action, "subject": subject,
    }  # fmt: skip
    first, last = _day(since), _day(until)
    query = AuditQuery(
        first,
        None if last is None else last + DAY_S,
        actor.strip() or None,
        action.strip() or None,
        subject.strip() or None,
    )
    if before is None:
        # by which fields, and not what for: a name may have been typed
        fields = " ".join(name for name, value in typed.items() if value)
        door.audit.append(
            person.login, Action.AUDIT_READ, detail={"fields": fields}, at=here.clock()
        )
    return _page(request, here, door, query, typed, before)


@router.post("/verify")
def verify(request: Request, here: Here, door: Door, person: Reader) -> Response:
    """Check the chain from its first row."""
    del person
    found = door.audit.verify()
    log = logs.get()
    if found.broken is None:
        log.info(Event.AUDIT_VERIFIED, rows=found.rows, head=found.head)
    else:
        log.error(Event.AUDIT_BROKEN, row=found.broken, sound=found.rows)
    return _page(request, here, door, AuditQuery(), {}, found=found)


def _day(text: str) -> float | None:
    """Read a date as the browser's field gives it; anything else is no limit."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d"))
    except (ValueError, OverflowError):
        return None


def _page(
    request: Request,
    here: Site,
    door: Gate,
    query: AuditQuery,
    typed: dict[str, str],
    before: int | None = None,
    found: Verified | None = None,
) -> Response:
    rows = door.audit.search(query, PAGE + 1, before)
    context = {
        "rows": rows[:PAGE],
        "more": rows[PAGE - 1].id if len(rows) > PAGE else None,
        "typed": typed,
        "actions": list(Action),
        "found": found,
    }
    return here.templates.TemplateResponse(request, "audit.html", context)
