"""The application: every page, the API and DICOMweb behind one guard."""

from __future__ import annotations

import pkgutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib import import_module
from importlib.util import find_spec

from anyio.to_thread import current_default_thread_limiter
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.telemetry import TelemetryConfig
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from daemon import logs
from daemon.events import Event
from daemon.web import api, pages
from daemon.web.answers import refuse, secure
from daemon.web.context import Site
from daemon.web.gate import Gate, make_gate
from daemon.web.guard import Access, Headers, Hosts
from daemon.web.metrics import Exposition
from daemon.web.routes import check_guarded
from daemon.web.templating import HERE
from storage.errors import DatabaseBusy, NotFound, OutOfSpace, StorageError

THREADS = 12  # of requests at a time that use the database

# FastAPI's own telemetry would record exceptions' messages and the values of refused fields, and
# send them to wherever an environment variable says.
SILENT = TelemetryConfig(
    tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False
)


def create_app(site: Site, gate: Gate | None = None) -> FastAPI:
    """Make the application on a migrated database. Raises UnguardedRoute."""
    settings = site.settings.web
    gate = gate or make_gate(settings, site.database)
    app = FastAPI(
        title="Hilum",
        telemetry=SILENT,
        openapi_url=None,  # /api/v1/openapi.json is a route of ours, guarded like any
        lifespan=_lifespan,
        middleware=[
            Middleware(Headers),
            Middleware(Hosts, settings=settings),
            Middleware(
                Access, gate=gate, clock=site.clock, largest_bytes=settings.max_request_bytes
            ),
        ],
        exception_handlers={
            HTTPException: _refused,
            RequestValidationError: _not_understood,
            StorageError: _storage_failed,
            Exception: _fault,
        },
    )
    app.state.site, app.state.gate, app.state.exposition = site, gate, Exposition(site)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    for router in _routers():
        app.router.routes.extend(router.routes)
    check_guarded(app.routes)
    return app


def _routers() -> Iterator[APIRouter]:
    """Every module of pages and api, and DICOMweb; one that has no router is a mistake."""
    for package in (pages, api):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            yield import_module(module.name).router
    if find_spec("daemon.web.dicomweb") is not None:
        yield import_module("daemon.web.dicomweb").router


@asynccontextmanager
async def _lifespan(_: FastAPI) -> AsyncIterator[None]:
    current_default_thread_limiter().total_tokens = THREADS
    yield


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers is not None else None
    detail = error.detail
    if error.status_code == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = "There is no such page."
    return refuse(request, error.status_code, detail, headers)


async def _not_understood(request: Request, error: Exception) -> Response:
    """Name each wrong field; its value stays out of the answer, for it may be a patient's."""
    assert isinstance(error, RequestValidationError)
    faults = [
        f"{'.'.join(str(part) for part in fault['loc'][1:]) or fault['loc'][0]}: {fault['msg']}"
        for fault in error.errors()
    ]
    return refuse(request, 422, "; ".join(faults))


async def _storage_failed(request: Request, error: Exception) -> Response:
    if isinstance(error, NotFound):
        return refuse(request, 404, str(error))
    if isinstance(error, DatabaseBusy | OutOfSpace):
        return refuse(request, 503, f"{error} Nothing was changed; try again in a moment.")
    return await _fault(request, error)


async def _fault(request: Request, error: Exception) -> Response:
    """An unforeseen fault: logged by its place, answered without it."""
    logs.get().error(Event.FAULT, **logs.whereabouts(error))
    detail = "The service could not answer this. It has noted where, and goes on."
    answer = refuse(request, 500, detail)
    # the answer to an unforeseen exception passes by the guard
    secure(MutableHeaders(raw=answer.raw_headers), request.url.scheme, request.url.path)
    return answer
