"""The audit trail: search, and the check of its chain."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from daemon import logs
from daemon.events import Event
from daemon.web.access import Person, Role, allow
from daemon.web.context import Here, Site
from daemon.web.gate import Door, Gate
from daemon.web.kept import keep, kept
from storage.audit import AuditQuery, Verified
from storage.audit_marks import Marks
from storage.people import Action

router = APIRouter(prefix="/audit", include_in_schema=False)

PAGE = "audit"
ROWS = 100  # on a page
DAY_S = 86400.0

Reader = Annotated[Person, Depends(allow(Role.ADMINISTRATOR, Role.AUDITOR))]
Text = Annotated[str, Form(max_length=255)]


@router.get("")
def show(
    request: Request,
    here: Here,
    door: Door,
    person: Reader,
    before: Annotated[int | None, Query(ge=1)] = None,
) -> Response:
    """Show the rows that fit what was asked for last, the newest or those before a row."""
    del person
    return _page(request, here, door, before)


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
) -> Response:
    """Keep what is asked for, and show the rows. A search is a row of its own; paging is not."""
    typed = {
        "since": since, "until": until, "actor": actor, "action": action, "subject": subject,
    }  # fmt: skip
    # by which fields, and not what for: a name may have been typed
    fields = " ".join(name for name, value in typed.items() if value)
    door.audit.append(person.login, Action.AUDIT_READ, detail={"fields": fields}, at=here.clock())
    keep(request, PAGE, typed)
    return RedirectResponse("/audit", 303)


@router.post("/verify")
def verify(request: Request, here: Here, door: Door, person: Reader) -> Response:
    """Check the chain from its first row."""
    del person
    found = door.audit.verify(Marks(here.database).hashes())
    log = logs.get()
    if found.broken is None:
        log.info(Event.AUDIT_VERIFIED, rows=found.rows, head=found.head)
    else:
        log.error(Event.AUDIT_BROKEN, row=found.broken, sound=found.rows)
    return _page(request, here, door, found=found)


def _day(text: str) -> float | None:
    """Read a date as the browser's field gives it; anything else is no limit."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d"))
    except (ValueError, OverflowError):
        return None


def _query(typed: dict[str, str]) -> AuditQuery:
    last = _day(typed.get("until", ""))
    return AuditQuery(
        _day(typed.get("since", "")),
        None if last is None else last + DAY_S,
        *(typed.get(name, "").strip() or None for name in ("actor", "action", "subject")),
    )


def _page(
    request: Request,
    here: Site,
    door: Gate,
    before: int | None = None,
    found: Verified | None = None,
) -> Response:
    typed = kept(request, PAGE)
    rows = door.audit.search(_query(typed), ROWS + 1, before)
    context = {
        "rows": rows[:ROWS],
        "more": rows[ROWS - 1].id if len(rows) > ROWS else None,
        "typed": typed,
        "actions": list(Action),
        "found": found,
    }
    return here.templates.TemplateResponse(request, "audit.html", context)
