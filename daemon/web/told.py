"""What was done is said by the next page, once: a reload asks nothing again."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from daemon.web.gate import gate
from storage.people import Session


def go_on(request: Request, path: str, done: str) -> Response:
    """Go to a page of ours, which says what was done."""
    session: Session = request.state.session  # a page's form is sent in one
    gate(request).sessions.tell(session.id, done)
    return RedirectResponse(path, 303)


def told(request: Request) -> str:
    """Return what the page has to say, and forget it."""
    session: Session | None = getattr(request.state, "session", None)
    if session is None or not session.told:
        return ""
    gate(request).sessions.tell(session.id, "")
    return session.told
