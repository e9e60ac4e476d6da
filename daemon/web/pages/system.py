"""Whether all is well, in one look: disk, database, outbox, model, processes, versions."""

from __future__ import annotations

import os
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from daemon.audit.standing import look_at_audit
from daemon.check_storage import look_at_database, look_at_reports, look_at_storage
from daemon.web import machine
from daemon.web.access import Administrator
from daemon.web.context import Here, Site
from daemon.web.integrity import look_at_images, look_at_objects
from storage.ledger import Ledger
from storage.traffic import traffic
from storage.workers import Workers

router = APIRouter(include_in_schema=False)


@router.get("/system")
def show(request: Request, here: Here, _: Administrator) -> Response:
    """Show the system; the whole database is read through once."""
    context = {
        **_live(here),
        "database": _database(here),
        "versions": machine.versions(),
        "objects": look_at_objects(here),
    }
    return here.templates.TemplateResponse(request, "system.html", context)


@router.get("/system/live")
def live(request: Request, here: Here, _: Administrator) -> Response:
    """Show what changes by itself."""
    return here.templates.TemplateResponse(request, "system_live.html", _live(here))


def _live(here: Site) -> dict[str, Any]:
    return {
        "findings": [
            look_at_storage(here.settings),
            look_at_reports(here.settings, here.database),
            look_at_audit(here.settings, here.database, here.clock()),
            look_at_images(here),
        ],
        "serving": Ledger(here.database).serving(),
        "workers": Workers(here.database).all(),
        "engine": here.settings.classifier.engine,
        "traffic": traffic(here.database, here.clock()),
        "processes": machine.processes(os.getppid()),
        "load": machine.load(),
        "memory": machine.memory(),
        "cores": len(os.sched_getaffinity(0)),
    }  # fmt: skip


def _database(here: Site) -> dict[str, Any]:
    opened, found = look_at_database(here.settings)
    if opened is not None:
        opened.close()
    file = here.settings.storage.root / "hilum.sqlite"
    return {"finding": found, "bytes": file.stat().st_size if file.is_file() else None}
