"""Traffic and queue, live; the quarantine, with reason and retry; one job, with all that is known.

UIDs, stations, states and reasons: never a patient's data.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response

from daemon.web.access import Administrator
from daemon.web.acts import Acts
from daemon.web.context import Here, Site
from daemon.web.live import LivePage
from daemon.web.told import go_on
from storage.errors import Refused
from storage.queue import Queue
from storage.records import JobId, JobState, StudyId, StudyState
from storage.studies import Studies
from storage.traffic import traffic

router = APIRouter(include_in_schema=False)

Reason = Annotated[str, Form(max_length=1000)]

RECENT = 25
QUARANTINED = 200


@router.get("/queue")
def show(request: Request, here: Here, _: Administrator) -> Response:
    """Show the queue."""
    return _page.whole(request, here)


@router.get("/queue/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show what changes by itself."""
    return _page.part(request, here)


@router.post("/queue/jobs/{job}/retry")
def retry(request: Request, job: int, here: Here, person: Administrator) -> Response:
    """Classify an image in quarantine again."""
    acts = Acts(here, person)
    done = f"Job {job} waits for a worker."
    return _page.act(request, here, lambda: acts.retry_job(JobId(job)), done)


@router.post("/queue/studies/{study}/retry")
def retry_study(request: Request, study: int, here: Here, person: Administrator) -> Response:
    """Build the report of a study in quarantine again."""
    acts = Acts(here, person)
    done = "The report of the study is due."
    return _page.act(request, here, lambda: acts.retry_study(StudyId(study)), done)


@router.get("/queue/jobs/{job}")
def show_job(request: Request, job: int, here: Here, _: Administrator) -> Response:
    """Show all that is known of a job."""
    return _job(request, here, job)


@router.post("/queue/jobs/{job}/quarantine")
def quarantine(
    request: Request, job: int, here: Here, person: Administrator, reason: Reason
) -> Response:
    """Take an image that waits or runs out of the queue."""
    try:
        Acts(here, person).quarantine_job(JobId(job), reason)
    except Refused as error:
        return _job(request, here, job, str(error))
    return go_on(request, "/queue", f"Job {job} is in quarantine.")


def _found(here: Site) -> dict[str, Any]:
    queue, now = Queue(here.database), here.clock()
    found = traffic(here.database, now)
    oldest = found.oldest_waiting_at
    return {
        "traffic": found,
        "oldest_s": None if oldest is None else max(0.0, now - oldest),
        "recent": queue.rows(limit=RECENT),
        "quarantined": queue.rows([JobState.QUARANTINED], QUARANTINED),
        "studies": Studies(here.database).rows(QUARANTINED, StudyState.QUARANTINED),
    }


_page = LivePage("queue", _found)


def _job(request: Request, here: Site, job: int, problem: str = "") -> Response:
    context = {"job": Queue(here.database).show(JobId(job)), "problem": problem}
    status = 409 if problem else 200
    return here.templates.TemplateResponse(request, "job.html", context, status_code=status)
