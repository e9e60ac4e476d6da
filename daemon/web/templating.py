"""The templates, and what each of them has: who is signed in, where to go, the form's token."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from daemon.acceptance_page import interval
from daemon.web.access import Person, Role
from daemon.web.told import told
from storage.alarms import Alarms

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the navigation."""

    title: str
    path: str
    roles: tuple[Role, ...]


# In this order; a place whose page is not part of the service is not shown.
PLACES = (
    Place("Worklist", "/worklist", (Role.RADIOLOGIST,)),
    Place("System", "/system", (Role.ADMINISTRATOR,)),
    Place("Queue", "/queue", (Role.ADMINISTRATOR,)),
    Place("Deliveries", "/deliveries", (Role.ADMINISTRATOR,)),
    Place("Peers", "/peers", (Role.ADMINISTRATOR,)),
    Place("Alarms", "/alarms", (Role.ADMINISTRATOR,)),
    Place("Models", "/models", (Role.ADMINISTRATOR,)),
    Place("Thresholds", "/thresholds", (Role.ADMINISTRATOR,)),
    Place("Schedules", "/schedules", (Role.ADMINISTRATOR,)),
    Place("Users", "/users", (Role.ADMINISTRATOR,)),
    Place("API tokens", "/tokens", (Role.ADMINISTRATOR,)),
    Place("Audit", "/audit", (Role.ADMINISTRATOR, Role.AUDITOR)),
    Place("Agreement", "/agreement", (Role.RADIOLOGIST, Role.ADMINISTRATOR)),
    Place("Acceptance", "/acceptance", (Role.RADIOLOGIST, Role.ADMINISTRATOR)),
    Place("Account", "/account", tuple(Role)),
)
HOME = {Role.RADIOLOGIST: "/worklist", Role.ADMINISTRATOR: "/system", Role.AUDITOR: "/audit"}


def places(request: Request, person: Person) -> list[Place]:
    """Return where a person may go."""
    known = {getattr(route, "path", None) for route in request.app.routes}
    return [place for place in PLACES if person.role in place.roles and place.path in known]


def home(request: Request, person: Person) -> str:
    """Return the path of a person's first page."""
    known = [place.path for place in places(request, person)]
    return HOME[person.role] if HOME[person.role] in known else known[0]


def make_templates() -> Jinja2Templates:
    """Return the templates of every page; what a template names and is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["when"] = when
    environment.filters["person"] = person_name
    environment.filters["bytes"] = in_bytes
    environment.filters["duration"] = duration
    environment.filters["share"] = share
    environment.filters["interval"] = interval
    return Jinja2Templates(env=environment, context_processors=[_shared])


def _shared(request: Request) -> dict[str, Any]:
    state = request.state
    person: Person | None = getattr(state, "person", None)
    in_session = person is not None and person.scopes is None
    return {
        "person": person,
        "places": places(request, person) if person is not None and in_session else [],
        "here": request.url.path,
        "alarms_open": partial(alarms_open, request, person),
        "csrf_token": getattr(state, "csrf", ""),
        "told": partial(told, request),  # called by a whole page, not by its live parts
    }


def alarms_open(request: Request, person: Person | None) -> int:
    """Return how many alarms nobody has acknowledged, for those whom they concern."""
    if person is None or person.role is not Role.ADMINISTRATOR:
        return 0
    return Alarms(request.app.state.site.database).waiting()


def share(one: Any) -> str:
    """Show a share with its interval, in per cent: 80 (70 to 88) %."""
    if one is None:
        return "none"
    value, low, high = (f"{100 * one[name]:.0f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high}) %"


def when(timestamp: float | None) -> str:
    """Show a time in the service's own time zone."""
    if timestamp is None:
        return "never"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))


def in_bytes(count: float) -> str:
    """Show a size: 1.5 GB."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return (
                f"{count:.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"
            )
        count /= 1000
    return f"{count:,.1f} GB"


def duration(seconds: float) -> str:
    """Show how long: 45 s, 12 min, 3 h, 2 days."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def person_name(value: str) -> str:
    """Show a name of VR PN (PS3.5 6.2): the alphabetic group as "Family, Given Middle"."""
    family, *rest = value.partition("=")[0].split("^")
    given = " ".join(part.strip() for part in rest[:2] if part.strip())
    return f"{family.strip()}, {given}" if given else family.strip()
