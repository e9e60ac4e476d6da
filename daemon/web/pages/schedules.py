"""Schedules and runs: what runs when, how far it is, what it found; for the administrator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from daemon import duetimes, scheduled
from daemon.errors import WrongTiming
from daemon.web.access import Administrator
from daemon.web.acts import Acts
from daemon.web.context import Here, Site
from daemon.web.runs import picture
from storage.errors import NotFound, Refused
from storage.runs import Runs
from storage.schedule_records import RunKind

router = APIRouter(include_in_schema=False)

Text = Annotated[str, Form(max_length=128)]


@router.get("/schedules")
def list_(request: Request, here: Here, _: Administrator) -> Response:
    """Show the schedules, the newest runs, and a form for a new schedule."""
    return _page(request, here)


@router.get("/schedules/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show how far the runs are."""
    context = scheduled.overview(here.database, here.clock())
    return here.templates.TemplateResponse(request, "schedules_live.html", context)


@router.post("/schedules")
def add(
    request: Request,
    here: Here,
    person: Administrator,
    name: Text,
    kind: Annotated[RunKind, Form()],
    cron: Text = "",
    every: Text = "",
    window: Text = "",
    timezone: Text = "",
) -> Response:
    """Add a schedule."""
    try:
        made = Acts(here, person).add_schedule(
            name.strip(), kind, cron.strip() or None, every.strip() or None, window, timezone
        )
    except (WrongTiming, Refused) as error:
        given = {"name": name, "kind": kind, "cron": cron, "every": every, "window": window,
                 "timezone": timezone}  # fmt: skip
        return _page(request, here, problem=str(error), given=given)
    return _page(request, here, done=f"{made['name']} is added.")


@router.post("/schedules/remove")
def remove(request: Request, here: Here, person: Administrator, name: Text) -> Response:
    """Remove a schedule."""
    Acts(here, person).remove_schedule(name)
    return _page(request, here, done=f"{name} is removed. What is in work goes on.")


@router.post("/schedules/run")
def run(request: Request, here: Here, person: Administrator, named: Text) -> Response:
    """Have a schedule or a kind run now."""
    try:
        number = Acts(here, person).run_now(named)
    except NotFound as error:
        return _page(request, here, problem=str(error))
    return _page(request, here, done=f"Run {number} starts as soon as no other is in work.")


@router.get("/schedules/runs/{number}")
def show(request: Request, number: int, here: Here, _: Administrator) -> Response:
    """Show a run: its progress, its outcome and its pictures."""
    context = {"run": scheduled.whole(Runs(here.database).show(number))}
    return here.templates.TemplateResponse(request, "run.html", context)


@router.get("/schedules/runs/{number}/live")
def show_live(request: Request, number: int, here: Here, _: Administrator) -> Response:
    """Show how far a run is."""
    context = {"run": scheduled.whole(Runs(here.database).show(number))}
    return here.templates.TemplateResponse(request, "run_live.html", context)


@router.get("/schedules/runs/{number}/pictures/{name}")
def show_picture(number: int, name: str, here: Here, _: Administrator) -> Response:
    """Give a picture of a run."""
    return picture(here, number, name)


@router.post("/schedules/runs/{number}/cancel")
def cancel(request: Request, number: int, here: Here, person: Administrator) -> Response:
    """Cancel a run."""
    try:
        Acts(here, person).cancel_run(number)
    except Refused as error:
        return _page(request, here, problem=str(error))
    return _page(request, here, done=f"Run {number} is cancelled.")


def _page(
    request: Request,
    here: Site,
    problem: str = "",
    done: str = "",
    given: dict[str, str] | None = None,
) -> Response:
    empty = dict.fromkeys(("name", "kind", "cron", "every", "window", "timezone"), "")
    context = {
        **scheduled.overview(here.database, here.clock()), "kinds": list(RunKind),
        "problem": problem, "done": done, "given": {**empty, **(given or {})},
        "zone": duetimes.local_zone(),
    }  # fmt: skip
    status = 409 if problem else 200
    return here.templates.TemplateResponse(request, "schedules.html", context, status_code=status)
