"""`hilum user`: the accounts; the first of them is made here."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from daemon.console import Config, Json
from daemon.errors import DaemonError
from daemon.settings import load
from storage.people import Account, Action, NewAccount, Role

if TYPE_CHECKING:
    from storage.accounts import Accounts
    from storage.audit import Audit

app = typer.Typer(help="Who may sign in to the pages.", no_args_is_help=True)

Login = Annotated[str, typer.Argument(help="The login, in small letters.")]
Stdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password as one line of standard input.")
]


@app.command()
def add(
    login: Login,
    config: Config,
    role: Annotated[Role, typer.Option(help="What the person does.")],
    name: Annotated[str, typer.Option(help="Name as shown, for instance 'Dr. Ann Low'.")],
    person_name: Annotated[
        str, typer.Option(help="Name in reports, a DICOM person name: family^given^middle.")
    ] = "",
    organization: Annotated[str, typer.Option(help="Organization, as reports name it.")] = "",
    blinded: Annotated[
        bool, typer.Option("--blinded", help="Reads first, and sees the result afterwards.")
    ] = False,
    password_stdin: Stdin = False,
) -> None:
    """Make an account. The password is asked for, or read from standard input."""
    from daemon.web.people import new_account

    with opened(config) as (accounts, audit):
        new = new_account(
            login, name, person_name, organization, role, blinded=blinded,
            password=_password(login, from_stdin=password_stdin),
        )  # fmt: skip
        made = add_account(accounts, audit, new)
    typer.echo(f"{made.login} may sign in as {made.role}")


@app.command("list")
def list_(config: Config, as_json: Json = False) -> None:
    """List the accounts."""
    with opened(config) as (accounts, _):
        rows = accounts.rows()
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    table = Table("login", "name", "role", "name in reports", "organization", "state")
    for row in rows:
        role = f"{row.role}, blinded" if row.blinded else str(row.role)
        shown = (row.login, row.name, role, row.person_name, row.organization)
        state = "enabled" if row.disabled_at is None else "disabled"
        table.add_row(*(escape(part) for part in shown), state)
    Console().print(table)


@app.command()
def disable(login: Login, config: Config) -> None:
    """Let an account in no more; its sessions end at once."""
    with opened(config) as (accounts, audit):
        account = accounts.by_login(login)
        accounts.disable(account.id, time.time())
        _note(audit, Action.ACCOUNT_DISABLED, account.login)
    typer.echo(f"{account.login} is disabled")


@app.command()
def enable(login: Login, config: Config) -> None:
    """Let a disabled account in again."""
    with opened(config) as (accounts, audit):
        account = accounts.by_login(login)
        accounts.enable(account.id)
        _note(audit, Action.ACCOUNT_ENABLED, account.login)
    typer.echo(f"{account.login} is enabled")


@app.command()
def passwd(login: Login, config: Config, password_stdin: Stdin = False) -> None:
    """Set an account's password anew; its sessions end at once."""
    from daemon.web.people import checked_hash

    with opened(config) as (accounts, audit):
        account = accounts.by_login(login)
        kept = checked_hash(_password(account.login, from_stdin=password_stdin), account.login)
        accounts.set_password(account.id, kept)
        _note(audit, Action.PASSWORD_CHANGED, account.login)
    typer.echo(f"{account.login} has a new password")


@contextmanager
def opened(config: Path) -> Iterator[tuple[Accounts, Audit]]:
    """Open the accounts of a service, whether it runs or not; made where there is no storage."""
    # Slow to import, and every command line imports this module
    from storage.accounts import Accounts
    from storage.audit import Audit
    from storage.database import open_database

    settings = load(config).storage
    settings.root.mkdir(parents=True, exist_ok=True)
    database = open_database(settings.url)
    try:
        database.migrate(settings.root / "backups")
        yield Accounts(database), Audit(database)
    finally:
        database.close()


def add_account(accounts: Accounts, audit: Audit, new: NewAccount) -> Account:
    """Make an account by the command line, and write that down. Raises LoginTaken."""
    made = accounts.add(new, time.time())
    _note(audit, Action.ACCOUNT_ADDED, made.login)
    return made


def _note(audit: Audit, action: Action, login: str) -> None:
    audit.append(f"{getpass.getuser()}@console", action, login, at=time.time())


def _password(login: str, *, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise DaemonError("there is no terminal to ask for the password: use --password-stdin")
    password: str = typer.prompt(f"Password of {login}", hide_input=True, confirmation_prompt=True)
    return password
