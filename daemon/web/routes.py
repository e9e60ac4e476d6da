"""That every route says who may use it."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Mount

from daemon.errors import DaemonError
from daemon.web.access import Allow

# Before anybody can have signed in; the machine's own question whether the process lives.
OPEN = {"/sign-in", "/sign-in/provider", "/sign-in/callback", "/health/live", "/static"}


class UnguardedRoute(DaemonError):
    """A route does not say who may use it."""


def check_guarded(routes: list[BaseRoute]) -> None:
    """Raise UnguardedRoute where a route lets in who never said who they are."""
    for route in routes:
        path = getattr(route, "path", None)
        if isinstance(route, APIRoute) and allowed(route) is not None:
            continue
        if path not in OPEN or not isinstance(route, APIRoute | Mount):
            raise UnguardedRoute(
                f"The route {path} depends on no allow(...), so that anybody could use it."
            )


def allowed(route: APIRoute) -> Allow | None:
    """Return who may use a route, None where it does not say."""
    found = [one for one in _calls(route.dependant) if isinstance(one, Allow)]
    return found[0] if found else None


def _calls(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for dependency in dependant.dependencies:
        yield from _calls(dependency)
