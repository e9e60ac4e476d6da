"""Signing in by an OpenID Connect provider, where one is set."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from daemon import logs
from daemon.events import Event
from daemon.web.answers import local
from daemon.web.context import Here, Site
from daemon.web.gate import Door, Gate, address_of
from daemon.web.pages.sign_in import begin, form
from daemon.web.people import LOGIN, WrongAccount, new_account
from storage.errors import LoginTaken
from storage.people import Account, Action

if TYPE_CHECKING:
    from daemon.web.oidc import Identity

router = APIRouter(include_in_schema=False)

COOKIE = "hilum_provider"
CALLBACK = "/sign-in/callback"


@router.get("/sign-in/provider")
def start(request: Request, here: Here, door: Door, next: str = "") -> Response:
    """Send the browser to the provider.

    By GET: a form's redirect to another site is against form-action in the CSP. The answer is
    bound to this browser by a cookie, so that nobody else can use it.
    """
    if door.provider is None:
        raise HTTPException(404)
    from daemon.web.oidc import OidcError

    try:
        callback = f"{request.url.scheme}://{request.url.netloc}{CALLBACK}"
        address, binding = door.provider.begin(callback, local(next))
    except OidcError as error:
        return form(request, here, str(error), 502, local(next))
    answer = RedirectResponse(address, 303)
    answer.set_cookie(
        COOKIE, binding, max_age=600, path=CALLBACK, httponly=True, samesite="lax",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer


@router.get(CALLBACK)
def finish(
    request: Request, here: Here, door: Door, state: str = "", code: str = "", error: str = ""
) -> Response:
    """Take the provider's answer and begin a session."""
    if door.provider is None:
        raise HTTPException(404)
    from daemon.web.oidc import OidcError

    try:
        if error:
            raise OidcError("The provider did not sign you in.")
        identity = door.provider.finish(state, request.cookies.get(COOKIE, ""), code)
        account = door.accounts.by_subject(identity.issuer, identity.subject)
        if account is not None and account.disabled_at is not None:
            raise OidcError("Your account is disabled in this service. Ask its administrator.")
        with here.database.write():
            if account is None:
                account = _make(here, door, identity)
            elif account.role != identity.role:
                door.accounts.set_role(account.id, identity.role, blinded=account.blinded)
                door.audit.append(
                    "provider", Action.ACCOUNT_CHANGED, account.login,
                    {"role": identity.role}, at=here.clock(),
                )  # fmt: skip
    except (OidcError, WrongAccount) as refused:
        logs.get().warning(
            Event.SIGN_IN_FAILED, address=address_of(request), reason=str(refused), way="provider"
        )
        return form(request, here, str(refused), 401)
    answer = begin(request, here, door, account, identity.wanted, way="provider")
    answer.delete_cookie(COOKIE, path=CALLBACK)
    return answer


def _make(here: Site, door: Gate, identity: Identity) -> Account:
    """Make the account of a person who comes for the first time.

    A login that a local account has is not handed over to whom the provider calls the same.
    """
    login = identity.login.strip().lower()
    if not LOGIN.fullmatch(login):
        login = re.sub(r"[^a-z0-9._@-]", "-", login).lstrip("._@-")[:40] or "person"
    mark = hashlib.sha256(identity.subject.encode()).hexdigest()[:8]
    for name in (login, f"{login[:50]}-{mark}"):
        new = new_account(
            name, identity.name[:128], identity.person_name, "", identity.role,
            blinded=False, password=None,
        )  # fmt: skip
        with suppress(LoginTaken):
            account = door.accounts.add(
                replace(new, issuer=identity.issuer, subject=identity.subject), here.clock()
            )
            detail = {"role": identity.role, "way": "provider"}
            door.audit.append(
                "provider", Action.ACCOUNT_ADDED, account.login, detail, at=here.clock()
            )
            return account
    raise WrongAccount("There is an account of your name already. Ask the administrator.")
