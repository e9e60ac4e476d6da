"""What an account has to be before it is made."""

from __future__ import annotations

import re

from daemon.errors import DaemonError
from daemon.web.passwords import Passwords, check_password
from storage.people import NewAccount, Role

LOGIN = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
# PS3.5 6.2, VR PN: five components, here of the alphabetic group alone
PERSON_NAME = re.compile(r"[^\\^=\x00-\x1f\x7f]+(\^[^\\^=\x00-\x1f\x7f]*){0,4}")


class WrongAccount(DaemonError):
    """The account cannot be made as it was described."""


def new_account(
    login: str,
    name: str,
    person_name: str,
    organization: str,
    role: Role,
    *,
    blinded: bool,
    password: str | None,
    passwords: Passwords | None = None,
) -> NewAccount:
    """Check what an account is made of. Raises WrongAccount and WeakPassword.

    A radiologist needs a person name, for reports name who verified them; without one the name as
    shown is taken as the family name.
    """
    login, name, organization = login.strip().lower(), name.strip(), organization.strip()
    person_name = person_name.strip() or re.sub(r"[\\^=]", " ", name)[:64]
    if not LOGIN.fullmatch(login):
        raise WrongAccount(
            f"The login {login!r} cannot be used: up to 64 of a-z, 0-9, . _ @ -,"
            " beginning with a letter or a digit."
        )
    for what, value, most in (("name", name, 128), ("organization", organization, 64)):
        if len(value) > most or not (value.isprintable() or not value):
            raise WrongAccount(f"The {what} has at most {most} printable characters.")
    if not name:
        raise WrongAccount("The name must not be empty.")
    if len(person_name) > 64 or not PERSON_NAME.fullmatch(person_name):
        raise WrongAccount(
            "The name in reports is a DICOM person name, family^given^middle^prefix^suffix, of at"
            " most 64 characters without = and backslash."
        )
    hashed = None if password is None else checked_hash(password, login, passwords)
    return NewAccount(login, name, person_name, organization, role, blinded, hashed)


def checked_hash(password: str, login: str, passwords: Passwords | None = None) -> str:
    """Return the hash of a password that is good enough. Raises WeakPassword."""
    check_password(password, login)
    return (passwords or Passwords()).make(password)
