"""The description of the API, for programs and who writes them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from daemon.web.access import Allow, Person, Role, Scope, allow
from daemon.web.routes import allowed

router = APIRouter(tags=["description"])

Anyone = Annotated[Person, Depends(allow(*Role, scope=Scope))]

DESCRIPTION = """What the pages do, for programs.

A program sends a token, `Authorization: Bearer hilum_...`, which an administrator makes; it acts
for an account and names its scopes. A browser sends its session's cookie, and with every change the
header `X-CSRF-Token`. What is refused is answered as `application/problem+json` (RFC 9457): 401
without a sign-in, 403 where role or scope do not allow it, 409 where somebody else was quicker, 422
where a value is wrong, 429 where it was tried too often, 503 where the database is busy.

Decision support only: not a medical device."""


@router.get("/api/v1/openapi.json", summary="This description", include_in_schema=False)
def description(request: Request, person: Anyone) -> dict[str, Any]:
    """Return the description of the API in the form of OpenAPI 3.1."""
    del person
    return describe(request.app)


@cache
def describe(app: FastAPI) -> dict[str, Any]:
    """Describe every route that is part of the API, with who may use it."""
    told = get_openapi(
        title="Hilum", version=version("hilum"), description=DESCRIPTION, routes=app.routes
    )
    told.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "An API token."},
        "session": {
            "type": "apiKey", "in": "cookie", "name": "hilum",
            "description": "A browser's session; over HTTPS the cookie is __Host-hilum.",
        },
    }  # fmt: skip
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                operation = told["paths"][route.path_format][method.lower()]
                _secure(operation, allowed(route))
    return told


def _secure(operation: dict[str, Any], who: Allow | None) -> None:
    if who is None:
        return
    # OpenAPI 3.1 takes roles beside schemes that have no scopes of their own
    operation["security"] = [{"session": sorted(who.roles)}]
    if who.scopes:
        operation["security"].append({"token": sorted(who.scopes)})
