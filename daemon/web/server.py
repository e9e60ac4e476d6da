"""The process of the pages: one HTTP server, told to stop like every other process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon import logs, process
from daemon.errors import CannotListen
from daemon.events import Event
from daemon.settings import Settings, WebSettings
from daemon.web.app import create_app
from daemon.web.context import Site
from daemon.web.templating import make_templates
from daemon.web.tls import tls_context
from storage.audit import Audit
from storage.database import open_database
from storage.objects import ObjectStore

CONNECTIONS = 200  # at a time; more are answered 503
FIRST_REQUEST_S = 10.0  # a connection that asks nothing is closed
STOP_S = 0.6  # what is still being answered is cut off after that


class Patience(H11Protocol):
    """HTTP/1.1 that closes a connection on which no request has arrived whole in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(FIRST_REQUEST_S, self._late)

    def _late(self) -> None:
        if getattr(self, "cycle", None) is None:
            self.transport.close()


class Server(uvicorn.Server):
    """The HTTP server, which ends when the process is told to stop."""

    def __init__(self, config: uvicorn.Config, stop: process.Stop) -> None:
        super().__init__(config)
        self._stop = stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `process.Stop`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve, and to watch for the stop."""
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self._stop.descriptor, self._end)

    def _end(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._stop.descriptor)
        self.should_exit = True
        loop.call_later(STOP_S, setattr, self, "force_exit", True)


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Serve the pages until told to stop; return the exit status."""
    del owner
    log = logs.get()
    for name in ("uvicorn", "uvicorn.error", "httpx", "httpcore"):  # what they say quotes URLs
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    try:
        context = None if settings.web.tls is None else tls_context(settings.web.tls)
        listening = _listen(settings.web)
    except CannotListen as error:
        log.critical(Event.FAULT, reason=str(error))
        return process.EXIT_FAULT
    database = open_database(settings.storage.url)
    objects = ObjectStore(settings.storage.root, settings.storage.reserve_bytes)
    site = Site(settings, database, objects, make_templates(), bells)
    server = Server(make_config(settings.web, create_app(site), context), stop)
    host, port = listening.getsockname()[:2]
    head = Audit(database).head()
    log.info(
        Event.WEB_LISTENING, url=f"{'https' if context else 'http'}://{_bracketed(host)}:{port}",
        port=port, audit_rows=head.rows, audit_head=head.head,
    )  # fmt: skip
    server.run(sockets=[listening])
    database.close()
    return 0


def make_config(
    settings: WebSettings, app: FastAPI, context: ssl.SSLContext | None
) -> uvicorn.Config:
    """Return how the application is served."""
    return uvicorn.Config(
        app, http=Patience, ws="none", loop="asyncio", lifespan="on",
        log_config=None, access_log=False, server_header=False,
        limit_concurrency=CONNECTIONS, timeout_keep_alive=30,
        proxy_headers=bool(settings.proxies), forwarded_allow_ips=list(settings.proxies),
        ssl_context_factory=None if context is None else lambda *_: context,
    )  # fmt: skip


def _listen(settings: WebSettings) -> socket.socket:
    try:
        family = socket.getaddrinfo(settings.bind, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.bind, settings.port), family=family, backlog=128)
    except OSError as error:
        raise CannotListen(
            f"the pages cannot be served on {settings.bind} port {settings.port}: {error.strerror}"
        ) from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
