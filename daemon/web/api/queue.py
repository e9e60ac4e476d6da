"""The queue and the quarantine, as JSON. UIDs, stations and states; never a patient's data."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

from daemon.web.access import AdminReader, AdminWriter
from daemon.web.acts import Acts
from daemon.web.context import Here
from storage.errors import Refused
from storage.queue import Queue
from storage.records import JobId, JobState, StudyId
from storage.traffic import callers, traffic

router = APIRouter(prefix="/api/v1/queue", tags=["queue"])


CALLERS_OVER_S = 7 * 86400.0


class Reason(BaseModel):
    """Why; the audit trail keeps it."""

    model_config = ConfigDict(extra="forbid")
    reason: str = Field("", max_length=1000)


@router.get("")
def show(here: Here, _: AdminReader) -> dict[str, Any]:
    """Counts by state, rates, the oldest that waits, and who has sent in the last week."""
    now = here.clock()
    sent = callers(here.database, now - CALLERS_OVER_S)
    return {**asdict(traffic(here.database, now)), "callers": [asdict(one) for one in sent]}


@router.get("/jobs")
def jobs(
    here: Here,
    _: AdminReader,
    state: Annotated[list[JobState] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """Jobs, newest first."""
    return [asdict(row) for row in Queue(here.database).rows(state, limit)]


@router.post("/jobs/{job}/retry")
def retry(job: int, why: Reason, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Classify an image in quarantine again."""
    try:
        Acts(here, person).retry_job(JobId(job), why.reason)
    except Refused as error:
        raise HTTPException(409, str(error)) from error
    return {"job": job, "state": JobState.PENDING}


@router.post("/jobs/{job}/quarantine")
def quarantine(job: int, why: Reason, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Take an image that waits or runs out of the queue; a reason is needed."""
    try:
        Acts(here, person).quarantine_job(JobId(job), why.reason)
    except Refused as error:
        raise HTTPException(409, str(error)) from error
    return {"job": job, "state": JobState.QUARANTINED}


@router.post("/studies/{study}/retry")
def retry_study(study: int, why: Reason, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Build the report of a study in quarantine again."""
    try:
        Acts(here, person).retry_study(StudyId(study), why.reason)
    except Refused as error:
        raise HTTPException(409, str(error)) from error
    return {"study": study, "state": "due"}
