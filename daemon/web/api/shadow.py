"""Trials of candidates, as JSON."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from daemon import trial_shown
from daemon.web.access import AdminReader, AdminWriter
from daemon.web.acts import Acts
from daemon.web.api.models import Why
from daemon.web.context import Here
from storage.errors import Refused

router = APIRouter(prefix="/api/v1/models/{named}/shadow", tags=["models"])


class NewTrial(BaseModel):
    """How long a candidate classifies beside what serves; none: as the settings say."""

    model_config = ConfigDict(extra="forbid")
    days: float | None = Field(None, gt=0, le=365)
    images: int | None = Field(None, ge=1, le=10000)


@router.get("")
def show(named: str, here: Here, _: AdminReader) -> dict[str, Any]:
    """The last trial of a bundle with its figures, and the ones before."""
    return trial_shown.shown(here.database, named)


@router.post("")
def start(named: str, new: NewTrial, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Begin a trial: what is classified from now on, the candidate classifies too."""
    try:
        return Acts(here, person).start_trial(named, new.days, new.images)
    except Refused as error:
        raise HTTPException(409, str(error)) from error


@router.post("/stop")
def stop(named: str, why: Why, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Stop the trial of a bundle; what was found stays."""
    try:
        return Acts(here, person).stop_trial(named, why.reason)
    except Refused as error:
        raise HTTPException(409, str(error)) from error
