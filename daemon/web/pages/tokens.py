"""The API tokens, for the administrator. A secret is shown once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from daemon.web.access import Administrator, Scope
from daemon.web.context import Here, Site
from daemon.web.gate import Door, Gate
from daemon.web.told import go_on
from storage.errors import NotFound
from storage.people import SCOPES, Action

router = APIRouter(prefix="/tokens", include_in_schema=False)

DAY_S = 86400.0
LONGEST_DAYS = 3650


@router.get("")
def show(request: Request, here: Here, door: Door, person: Administrator) -> Response:
    """List the tokens, with a form for a new one."""
    del person
    return _page(request, here, door)


@router.post("")
def make(
    request: Request,
    here: Here,
    door: Door,
    person: Administrator,
    name: Annotated[str, Form(min_length=1, max_length=64)],
    login: Annotated[str, Form(max_length=64)],
    days: Annotated[int, Form(ge=1, le=LONGEST_DAYS)],
    scopes: Annotated[list[Scope] | None, Form()] = None,
) -> Response:
    """Make a token that acts for an account, and show its secret: here alone, kept nowhere."""
    try:
        account = door.accounts.by_login(login.strip())
    except NotFound as error:
        return _page(request, here, door, str(error), 422)
    wanted = frozenset(scopes or ())
    allowed = SCOPES[account.role]
    if not wanted or not wanted <= allowed:
        problem = f"A token of a {account.role} has one or more of: {', '.join(sorted(allowed))}."
        return _page(request, here, door, problem, 422)
    now = here.clock()
    with here.database.write():
        number, secret = door.tokens.make(account.id, name, wanted, now + days * DAY_S, now)
        detail: dict[str, str | int] = {
            "account": account.login,
            "scopes": " ".join(sorted(wanted)),
            "days": days,
        }
        subject = f"token {number}"
        door.audit.append(person.login, Action.TOKEN_MADE, subject, detail, at=now)
    return _page(request, here, door, secret=secret)


@router.post("/{number}/revoke")
def revoke(
    request: Request, here: Here, door: Door, person: Administrator, number: int
) -> Response:
    """Let a token in no more."""
    now = here.clock()
    with here.database.write():
        door.tokens.revoke(number, now)
        door.audit.append(person.login, Action.TOKEN_REVOKED, f"token {number}", at=now)
    return go_on(request, "/tokens", "The token is revoked.")


def _page(
    request: Request,
    here: Site,
    door: Gate,
    problem: str = "",
    status: int = 200,
    secret: str = "",
) -> Response:
    context = {
        "tokens": door.tokens.rows(), "accounts": door.accounts.rows(), "scopes": SCOPES,
        "all_scopes": list(Scope), "now": here.clock(), "problem": problem,
        "secret": secret,
    }  # fmt: skip
    return here.templates.TemplateResponse(request, "tokens.html", context, status_code=status)
