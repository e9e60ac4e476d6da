"""What is sent to each PACS, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query

from daemon.web.access import AdminReader, AdminWriter
from daemon.web.acts import Acts
from daemon.web.api.queue import Reason
from daemon.web.context import Here
from daemon.web.peers import standing
from storage.errors import Refused
from storage.outbox import Outbox
from storage.records import DeliveryId, DeliveryState

router = APIRouter(prefix="/api/v1", tags=["deliveries"])


@router.get("/deliveries")
def list_(
    here: Here,
    _: AdminReader,
    state: Annotated[list[DeliveryState] | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[dict[str, Any]]:
    """Deliveries, newest first."""
    return [asdict(row) for row in Outbox(here.database).rows(state, limit)]


@router.post("/deliveries/{delivery}/retry")
def retry(delivery: int, why: Reason, here: Here, person: AdminWriter) -> dict[str, Any]:
    """Send again what a PACS has refused for good."""
    try:
        Acts(here, person).retry_delivery(DeliveryId(delivery), why.reason)
    except Refused as error:
        raise HTTPException(409, str(error)) from error
    return {"delivery": delivery, "state": DeliveryState.PENDING}


@router.get("/peers")
def peers(here: Here, _: AdminReader) -> list[dict[str, Any]]:
    """Each PACS: its address, what it takes, its backlog and when it last took something."""
    return [asdict(one) for one in standing(here)]
