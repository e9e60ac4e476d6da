"""Who asks, and whether they may.

Every route declares its reader by the type of a parameter: ``person: Administrator``, or
``person: Annotated[Person, Depends(allow(...))]``. One that declares none is refused by the
application, so that a forgotten check shows at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from storage.people import Role, Scope

__all__ = [
    "AdminReader", "AdminWriter", "Administrator", "Allow", "Anyone", "Person", "Radiologist",
    "Role", "Scope", "StudyReader", "allow",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks: an account in a session, or by a token with its `scopes`."""

    account: int
    login: str
    name: str  # as shown
    person_name: str  # as VR PN: family^given^middle^prefix^suffix
    role: Role
    blinded: bool = False  # reads first, and sees the computer's result afterwards
    scopes: frozenset[Scope] | None = None  # None in a session: whatever the role may


@dataclass(frozen=True)
class Allow:
    """A dependency that gives the person, who has one of the roles, or a token with a scope."""

    roles: frozenset[Role]
    scopes: frozenset[Scope]

    async def __call__(self, request: Request) -> Person:
        """Return who asks. Raises HTTPException 401 and 403."""
        person: Person | None = getattr(request.state, "person", None)
        if person is None:
            raise HTTPException(401, "Sign in first.")
        if person.scopes is not None:
            if not person.scopes & self.scopes:
                raise HTTPException(403, "The token has no such scope.")
        elif person.role not in self.roles:
            raise HTTPException(403, "Your role does not allow this.")
        return person


def allow(*roles: Role, scope: Scope | Iterable[Scope] | None = None) -> Allow:
    """Let in people of these roles, and tokens with the scope, or with one of several."""
    if scope is None:
        return Allow(frozenset(roles), frozenset())
    scopes = [scope] if isinstance(scope, Scope) else scope
    return Allow(frozenset(roles), frozenset(scopes))


# Of pages: a person in a session.
Administrator = Annotated[Person, Depends(allow(Role.ADMINISTRATOR))]
Radiologist = Annotated[Person, Depends(allow(Role.RADIOLOGIST))]
Anyone = Annotated[Person, Depends(allow(*Role))]

# Of the API: a token as well.
StudyReader = Annotated[Person, Depends(allow(Role.RADIOLOGIST, scope=Scope.STUDIES))]
AdminReader = Annotated[
    Person, Depends(allow(Role.ADMINISTRATOR, scope=(Scope.HEALTH, Scope.ADMIN)))
]
AdminWriter = Annotated[Person, Depends(allow(Role.ADMINISTRATOR, scope=Scope.ADMIN))]
