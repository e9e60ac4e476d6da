"""What a page was asked for last, kept in the session: no URL has it, for it may be a name.

A session keeps the answers of one form: that of the page where it was sent last.
"""

from __future__ import annotations

import json

from fastapi import Request

from daemon.web.gate import gate
from storage.people import Session


def keep(request: Request, page: str, values: dict[str, str]) -> None:
    """Keep what a page's form was filled in with; a program with a token has no session."""
    session: Session | None = request.state.session
    kept = json.dumps({page: values}) if any(values.values()) else ""
    if session is not None and session.filters != kept:
        gate(request).sessions.keep_filters(session.id, kept)


def kept(request: Request, page: str) -> dict[str, str]:
    """Return what a page's form was filled in with last in this session."""
    session: Session | None = request.state.session
    if session is None or not session.filters:
        return {}
    values: dict[str, str] = json.loads(session.filters).get(page, {})
    return values
