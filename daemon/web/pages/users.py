"""The accounts, for the administrator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import Response

from daemon.web.access import Administrator, Person, Role
from daemon.web.context import Here, Site
from daemon.web.gate import Door, Gate
from daemon.web.passwords import WeakPassword
from daemon.web.people import WrongAccount, checked_hash, new_account
from daemon.web.told import go_on
from storage.errors import LoginTaken
from storage.people import Action

router = APIRouter(prefix="/users", include_in_schema=False)

Text = Annotated[str, Form(max_length=256)]


@router.get("")
def show(request: Request, here: Here, door: Door, person: Administrator) -> Response:
    """List the accounts, with a form for a new one."""
    return _page(request, here, door, person)


@router.post("")
def add(
    request: Request,
    here: Here,
    door: Door,
    person: Administrator,
    login: Text,
    name: Text,
    role: Annotated[Role, Form()],
    password: Text,
    person_name: Text = "",
    organization: Text = "",
    blinded: Annotated[bool, Form()] = False,
) -> Response:
    """Make an account."""
    try:
        new = new_account(
            login, name, person_name, organization, role, blinded=blinded,
            password=password, passwords=door.passwords,
        )  # fmt: skip
        with here.database.write():
            made = door.accounts.add(new, here.clock())
            _note(here, door, person, Action.ACCOUNT_ADDED, made.login, role=made.role)
    except (WrongAccount, WeakPassword, LoginTaken) as error:
        return _page(request, here, door, person, str(error), 422)
    return go_on(request, "/users", f"{made.login} may sign in as {made.role}.")


@router.post("/{number}/role")
def change_role(
    request: Request,
    here: Here,
    door: Door,
    person: Administrator,
    number: int,
    role: Annotated[Role, Form()],
    blinded: Annotated[bool, Form()] = False,
) -> Response:
    """Change what an account may do."""
    _not_oneself(person, number)
    with here.database.write():
        door.accounts.set_role(number, role, blinded=blinded)
        login = door.accounts.get(number).login
        _note(here, door, person, Action.ACCOUNT_CHANGED, login, role=role, blinded=blinded)
    return go_on(request, "/users", f"{login} is {role} now.")


@router.post("/{number}/disable")
def disable(
    request: Request, here: Here, door: Door, person: Administrator, number: int
) -> Response:
    """Let an account in no more, and end its sessions."""
    _not_oneself(person, number)
    with here.database.write():
        door.accounts.disable(number, here.clock())
        login = door.accounts.get(number).login
        _note(here, door, person, Action.ACCOUNT_DISABLED, login)
    return go_on(request, "/users", f"{login} is disabled.")


@router.post("/{number}/enable")
def enable(
    request: Request, here: Here, door: Door, person: Administrator, number: int
) -> Response:
    """Let an account in again."""
    with here.database.write():
        door.accounts.enable(number)
        login = door.accounts.get(number).login
        _note(here, door, person, Action.ACCOUNT_ENABLED, login)
    return go_on(request, "/users", f"{login} is enabled.")


@router.post("/{number}/password")
def set_password(
    request: Request, here: Here, door: Door, person: Administrator, number: int, password: Text
) -> Response:
    """Set an account's password anew, and end its sessions."""
    account = door.accounts.get(number)
    try:
        hashed = checked_hash(password, account.login, door.passwords)
    except WeakPassword as error:
        return _page(request, here, door, person, str(error), 422)
    keep = request.state.session.id if number == person.account else None
    with here.database.write():
        door.accounts.set_password(number, hashed, keep)
        _note(here, door, person, Action.PASSWORD_CHANGED, account.login)
    return go_on(request, "/users", f"{account.login} has a new password.")


def _not_oneself(person: Person, number: int) -> None:
    if number == person.account:
        raise HTTPException(409, "Another administrator has to do that to your own account.")


def _note(
    here: Site, door: Gate, person: Person, action: Action, login: str, **detail: str | bool
) -> None:
    door.audit.append(person.login, action, login, detail, at=here.clock())


def _page(
    request: Request,
    here: Site,
    door: Gate,
    person: Person,
    problem: str = "",
    status: int = 200,
) -> Response:
    context = {
        "accounts": door.accounts.rows(), "roles": list(Role), "self": person.account,
        "problem": problem,
    }  # fmt: skip
    return here.templates.TemplateResponse(request, "users.html", context, status_code=status)
