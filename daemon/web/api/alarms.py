"""Alarms, and what is watched, as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from daemon import watched
from daemon.alarm_text import shown
from daemon.web.access import AdminReader, AdminWriter
from daemon.web.acts import Acts
from daemon.web.context import Here
from storage.errors import Refused

router = APIRouter(prefix="/api/v1", tags=["alarms"])


class Why(BaseModel):
    """Why it is done; the history keeps it."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field(max_length=1000)


class StationName(BaseModel):
    """A station, as its images name it."""

    model_config = ConfigDict(extra="forbid")
    station: str = Field(max_length=64)


class Doubted(Why):
    """A finding of a bundle, and why its doubt is lifted."""

    digest: str = Field(max_length=64)
    finding: str = Field(max_length=64)


@router.get("/alarms")
def list_(
    here: Here, _: AdminReader, closed: Annotated[int, Query(ge=0, le=1000)] = 0
) -> dict[str, Any]:
    """The open alarms, and the newest that were closed."""
    return watched.alarms(here.database, closed)


@router.post("/alarms/{number}/acknowledge")
def acknowledge(number: int, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Note that a person knows of an alarm."""
    return shown(Acts(here, person).acknowledge_alarm(number))


@router.post("/alarms/{number}/close")
def close(number: int, why: Why, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Close an alarm by a person's word; should its cause last, it opens anew."""
    try:
        return shown(Acts(here, person).close_alarm(number, why.reason))
    except Refused as error:
        raise HTTPException(409, str(error)) from error


@router.get("/watching")
def watching(here: Here, _: AdminReader) -> dict[str, Any]:
    """How every station stands, and what reviews say of each finding."""
    return watched.overview(here.database)


@router.post("/watching/stations/accept")
def accept(named: StationName, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Take a station's images since its drift began for its reference."""
    try:
        count = Acts(here, person).accept_station(named.station)
    except Refused as error:
        raise HTTPException(409, str(error)) from error
    return {"station": named.station, "images": count}


@router.post("/watching/findings/lift")
def lift(named: Doubted, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Let a finding in doubt flag again; later reviews alone can put it in doubt anew."""
    try:
        Acts(here, person).lift_doubt(named.digest, named.finding, named.reason)
    except Refused as error:
        raise HTTPException(409, str(error)) from error
    return {"finding": named.finding, "doubt": None}
