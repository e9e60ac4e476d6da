"""A person's own account: the password and the sessions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import Response

from daemon.web.access import Anyone, Person
from daemon.web.context import Here, Site
from daemon.web.gate import Door, Gate, address_of
from daemon.web.passwords import WeakPassword, check_password
from daemon.web.told import go_on
from storage.people import Action

router = APIRouter(include_in_schema=False)


@router.get("/account")
def show(request: Request, here: Here, door: Door, person: Anyone) -> Response:
    """Show who is signed in, and where else."""
    return _page(request, here, door, person)


@router.post("/account/password")
def change_password(
    request: Request,
    here: Here,
    door: Door,
    person: Anyone,
    password: Annotated[str, Form(max_length=256)],
    new: Annotated[str, Form(max_length=256)],
    again: Annotated[str, Form(max_length=256)],
) -> Response:
    """Change the password, which ends every other session."""
    address = address_of(request)
    known = door.accounts.credential(person.login)
    if known is None:
        raise HTTPException(409, "This account signs in elsewhere, and has no password here.")
    if door.throttle.wait_s(person.login, address) > 0:
        return _page(request, here, door, person, "Too many attempts. Try again in a minute.", 429)
    if not door.passwords.matches(password, known[1]):
        door.throttle.failed(person.login, address)
        return _page(request, here, door, person, "The present password is wrong.", 403)
    try:
        check_password(new, person.login)
    except WeakPassword as error:
        return _page(request, here, door, person, str(error), 422)
    if new != again:
        return _page(request, here, door, person, "The new passwords differ.", 422)
    hashed = door.passwords.make(new)
    with here.database.write():
        door.accounts.set_password(person.account, hashed, keep=request.state.session.id)
        door.audit.append(person.login, Action.PASSWORD_CHANGED, person.login, at=here.clock())
    return go_on(request, "/account", "The password is changed.")


@router.post("/account/sessions/end")
def end_others(request: Request, here: Here, door: Door, person: Anyone) -> Response:
    """End every other session of the account."""
    with here.database.write():
        count = door.sessions.close_others(person.account, request.state.session.id)
        door.audit.append(
            person.login, Action.SESSIONS_ENDED, detail={"count": count}, at=here.clock()
        )
    return go_on(request, "/account", f"{count} other sessions are ended.")


def _page(
    request: Request,
    here: Site,
    door: Gate,
    person: Person,
    problem: str = "",
    status: int = 200,
) -> Response:
    if request.state.session is None:
        raise HTTPException(403, "A token has no account page.")
    context = {
        "account": door.accounts.get(person.account),
        "sessions": door.sessions.of(person.account, here.clock()),
        "present": request.state.session.id,
        "problem": problem,
    }
    return here.templates.TemplateResponse(request, "account.html", context, status_code=status)
