"""Signing in and out."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from daemon import logs
from daemon.events import Event
from daemon.web.access import Anyone
from daemon.web.answers import local
from daemon.web.context import Here, Site
from daemon.web.gate import (
    FORM_COOKIE,
    Door,
    Gate,
    address_of,
    csrf_token,
    gate,
    session_cookie,
)
from daemon.web.templating import home
from storage.people import Account, Action

router = APIRouter(include_in_schema=False)

WRONG = "The login or the password is wrong."
BUSY = "Many people are signing in at this moment. Try again in a few seconds."


@router.get("/")
def first_page(request: Request, person: Anyone) -> Response:
    """Go to the first page of the role."""
    return RedirectResponse(home(request, person), 303)


@router.get("/sign-in")
def show(request: Request, here: Here, next: str = "") -> Response:
    """Show the form; who is signed in already goes on."""
    if request.state.session is not None:
        return RedirectResponse(local(next) or "/", 303)
    return form(request, here, wanted=local(next))


@router.post("/sign-in")
def sign_in(
    request: Request,
    here: Here,
    door: Door,
    login: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=256)],
    next: Annotated[str, Form()] = "",
) -> Response:
    """Check the login and the password, and begin a session."""
    address, log = address_of(request), logs.get()
    login = login.strip()
    wait_s = door.throttle.wait_s(login, address)
    if wait_s > 0:
        log.warning(Event.SIGN_IN_DELAYED, address=address, wait_s=round(wait_s, 1))
        return _later(request, here, wait_s, next)
    known = door.accounts.credential(login)
    good = door.passwords.matches(password, None if known is None else known[1])
    if good is None:
        return form(request, here, BUSY, 503, local(next), {"Retry-After": "5"})
    if known is None or not good:
        door.throttle.failed(login, address)
        log.warning(Event.SIGN_IN_FAILED, address=address, known=known is not None)
        # A row for an unknown login too, which takes the same time; without the login, for what was
        # typed there may be a password.
        actor = "unknown" if known is None else known[0].login
        detail = {"address": address}
        door.audit.append(actor, Action.SIGN_IN_FAILED, detail=detail, at=here.clock())
        return form(request, here, WRONG, 401, local(next))
    account, kept = known
    door.throttle.succeeded(login)
    if door.passwords.is_old(kept):
        door.accounts.rehash(account.id, door.passwords.make(password))
    return begin(request, here, door, account, local(next))


@router.post("/sign-out")
def sign_out(request: Request, here: Here, door: Door, person: Anyone) -> Response:
    """End the session."""
    if request.state.secret is not None:
        with here.database.write():
            door.sessions.close(request.state.secret)
            door.audit.append(person.login, Action.SIGNED_OUT, at=here.clock())
    answer = RedirectResponse("/sign-in", 303)
    _drop(answer, request, session_cookie(request.url))
    return answer


def begin(
    request: Request, here: Site, door: Gate, account: Account, wanted: str, way: str = "password"
) -> Response:
    """Begin a session under a new secret, whatever the browser brought, and go on."""
    address, now = address_of(request), here.clock()
    with here.database.write():
        if request.state.secret is not None:
            door.sessions.close(request.state.secret)
        secret = door.sessions.open(account.id, address, now)
        detail = {"address": address, "way": way}
        door.audit.append(account.login, Action.SIGNED_IN, detail=detail, at=now)
    answer = RedirectResponse(wanted or "/", 303)
    # Lax, so that the redirect from an OpenID provider and a link from the PACS carry it; what
    # changes anything needs the form's token besides.
    answer.set_cookie(
        session_cookie(request.url), secret, path="/", httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    _drop(answer, request, FORM_COOKIE)
    return answer


def form(
    request: Request,
    here: Site,
    problem: str = "",
    status: int = 200,
    wanted: str = "",
    headers: dict[str, str] | None = None,
) -> Response:
    """Show the sign-in form, with a token that belongs to this browser."""
    known = request.cookies.get(FORM_COOKIE, "")
    secret = known or secrets.token_urlsafe(32)
    request.state.csrf = csrf_token(secret)
    provider = here.settings.web.oidc is not None
    context = {
        "problem": problem, "wanted": wanted, "provider": provider,
        "first": not provider and not gate(request).accounts.any(),
    }  # fmt: skip
    answer = here.templates.TemplateResponse(
        request, "sign_in.html", context, status_code=status, headers=headers
    )
    if not known:
        answer.set_cookie(
            FORM_COOKIE, secret, path="/", httponly=True, samesite="strict",
            secure=request.url.scheme == "https",
        )  # fmt: skip
    return answer


def _later(request: Request, here: Site, wait_s: float, wanted: str) -> Response:
    whole = int(wait_s) + 1
    problem = f"There were too many failed attempts. Try again in {whole} s."
    return form(request, here, problem, 429, local(wanted), {"Retry-After": str(whole)})


def _drop(answer: Response, request: Request, name: str) -> None:
    secure = request.url.scheme == "https"
    answer.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")
