"""Schedules and runs, as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from daemon import scheduled
from daemon.errors import WrongTiming
from daemon.web.access import AdminReader, AdminWriter
from daemon.web.acts import Acts
from daemon.web.context import Here
from daemon.web.runs import picture
from storage.errors import Refused
from storage.runs import Runs
from storage.schedule_records import RunKind

router = APIRouter(prefix="/api/v1", tags=["schedules"])


class NewSchedule(BaseModel):
    """A schedule: either `cron` or `every`."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=64)
    kind: RunKind
    cron: str | None = Field(None, max_length=128, description="As 30 2 * * sat.")
    every: str | None = Field(None, max_length=16, description="As 90m, 12h or 7d.")
    window: str | None = Field(None, max_length=16, description="As 22:00-05:00.")
    timezone: str | None = Field(None, max_length=64, description="As Europe/Berlin.")


class NewRun(BaseModel):
    """What is to run now: a schedule's name, or a kind."""

    model_config = ConfigDict(extra="forbid")
    named: str = Field(max_length=64)


@router.get("/schedules")
def list_(here: Here, _: AdminReader) -> list[dict[str, Any]]:
    """The schedules with their next due times."""
    found: list[dict[str, Any]] = scheduled.overview(here.database, here.clock(), 0)["schedules"]
    return found


@router.post("/schedules")
def add(new: NewSchedule, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Add a schedule."""
    try:
        return Acts(here, person).add_schedule(
            new.name, new.kind, new.cron, new.every, new.window, new.timezone
        )
    except WrongTiming as error:
        raise HTTPException(422, str(error)) from error
    except Refused as error:
        raise HTTPException(409, str(error)) from error


@router.delete("/schedules/{name}")
def remove(name: str, here: Here, person: AdminWriter) -> dict[str, str]:
    """Remove a schedule; what is in work goes on."""
    Acts(here, person).remove_schedule(name)
    return {"removed": name}


@router.get("/runs")
def runs(
    here: Here, _: AdminReader, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[dict[str, Any]]:
    """Runs, newest first."""
    return [scheduled.brief(one) for one in Runs(here.database).rows(limit)]


@router.post("/runs")
def start(new: NewRun, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Have something run now, outside every window."""
    number = Acts(here, person).run_now(new.named)
    return scheduled.whole(Runs(here.database).show(number))


@router.get("/runs/{number}")
def show(number: int, here: Here, _: AdminReader) -> dict[str, Any]:
    """A run with its progress, its outcome and, of a candidate, the gate's verdict."""
    return scheduled.whole(Runs(here.database).show(number))


@router.get("/runs/{number}/pictures/{name}", response_class=Response)
def show_picture(number: int, name: str, here: Here, _: AdminReader) -> Response:
    """A picture of a run, PNG."""
    return picture(here, number, name)


@router.post("/runs/{number}/cancel")
def cancel(number: int, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Cancel a run that waits or is in work."""
    try:
        return {"run": number, "state": Acts(here, person).cancel_run(number)}
    except Refused as error:
        raise HTTPException(409, str(error)) from error
