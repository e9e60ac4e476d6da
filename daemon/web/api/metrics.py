"""Metrics for Prometheus: for a monitor with a token of the scope health:read."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from daemon.web.api.health import Monitor
from daemon.web.metrics import Exposition

router = APIRouter(tags=["health"])


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request, person: Monitor) -> Response:
    """Give counters and gauges of the whole service. No patient data, and no UID, is in them."""
    del person
    exposition = cast("Exposition", request.app.state.exposition)
    return Response(exposition.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
