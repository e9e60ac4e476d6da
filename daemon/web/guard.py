"""What every request passes before its route: headers, names, sizes, who asks, and CSRF.

Plain ASGI, so that a large answer streams through.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon import logs
from daemon.events import Event
from daemon.settings import WebSettings
from daemon.web.answers import refuse, secure
from daemon.web.gate import FORM_COOKIE, Gate, csrf_token, person_of, session_cookie
from storage.errors import StorageError

SAFE = ("GET", "HEAD", "OPTIONS")
STRANGERS_BYTES = 16384  # of a request by nobody: a sign-in form is small
BODY_S = 30.0
SESSION_LESS = ("/static/", "/health/live")
FORMS_OF_STRANGERS = ("/sign-in",)
# A part of a page that asks by itself: it neither keeps a session alive nor fills the log.
BACKGROUND = "x-background"


class Headers:
    """Adds the headers of every answer, and logs it: the route's pattern, never the URL."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = logs.get()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                secure(MutableHeaders(scope=message), scope["scheme"], scope["path"])
            await send(message)

        await self._app(scope, receive, sending)
        self._note(Request(scope), status, time.perf_counter() - started)

    def _note(self, request: Request, status: int, seconds: float) -> None:
        route = getattr(request.scope.get("route"), "path", None)
        quiet = route is None or BACKGROUND in request.headers
        if quiet and status < 400:
            return
        person = getattr(request.state, "person", None)
        self._log.info(
            Event.WEB_ANSWERED,
            method=request.method if request.method in (*SAFE, "POST", "PUT", "DELETE") else "?",
            route=route or "none", status=status, took_ms=round(seconds * 1000, 1),
            person=None if person is None else person.login,
        )  # fmt: skip


class Hosts:
    """Refuses a name that is not ours, so that no foreign page reaches us under its own (DNS
    rebinding). An IP address cannot be rebound."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        ours = ("localhost", socket.gethostname(), socket.getfqdn(), *settings.hosts)
        self._ours = {name.lower() for name in ours}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        named = [value for name, value in scope["headers"] if name == b"host"]
        if len(named) == 1 and self._is_ours(named[0].decode("latin-1")):
            await self._app(scope, receive, send)
            return
        detail = "The service is not known by that name; its administrator can add it to web.hosts."
        await refuse(_anonymous(scope), 421, detail)(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return urlsplit(f"//{host}").hostname in self._ours if "[" not in host else False
        return True


class Access:
    """Finds out who asks, reads the body within bounds, and refuses what a foreign page sent."""

    def __init__(
        self, app: ASGIApp, gate: Gate, clock: Callable[[], float], largest_bytes: int
    ) -> None:
        self._app, self._gate, self._clock = app, gate, clock
        self._largest_bytes = largest_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _anonymous(scope)
        refusal = None
        if not scope["path"].startswith(SESSION_LESS):
            try:
                refusal = await run_in_threadpool(self._identify, request)
            except StorageError:
                refusal = refuse(request, 503, "The database is busy. Try again in a moment.")
        if refusal is None and request.method not in SAFE:
            body = await self._body(request, receive)
            if isinstance(body, Response):
                refusal = body
            else:
                refusal = _foreign(request, body)
                receive = _again(body, receive)
        await (refusal or self._app)(scope, receive, send)

    def _identify(self, request: Request) -> Response | None:
        """Set who asks, and what a form must carry."""
        now, state = self._clock(), request.state
        if "authorization" in request.headers:
            kind, _, secret = request.headers["authorization"].partition(" ")
            token = self._gate.tokens.find(secret.strip(), now) if kind == "Bearer" else None
            if token is None:
                return refuse(request, 401, "The token is unknown, revoked or expired.")
            state.person = person_of(token.account, token)
            return None
        secret = request.cookies.get(session_cookie(request.url), "")
        if secret:
            touch = BACKGROUND not in request.headers
            state.session = self._gate.sessions.find(secret, now, touch=touch)
        if state.session is not None:
            state.person, state.secret = person_of(state.session.account), secret
            state.csrf = csrf_token(secret)
        elif form := request.cookies.get(FORM_COOKIE, ""):
            state.csrf = csrf_token(form)
        return None

    async def _body(self, request: Request, receive: Receive) -> bytes | Response:
        known = request.state.person is not None
        most = self._largest_bytes if known else min(STRANGERS_BYTES, self._largest_bytes)
        read, more = bytearray(), True
        try:
            async with asyncio.timeout(BODY_S):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return Response(status_code=400)  # it hung up
                    read += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(read) > most:
                        return refuse(request, 413, f"The request is larger than {most} bytes.")
        except TimeoutError:
            return refuse(request, 408, f"The request took longer than {BODY_S:.0f} s to arrive.")
        return bytes(read)


def _anonymous(scope: Scope) -> Request:
    request = Request(scope)
    request.state.person = request.state.session = request.state.secret = None
    request.state.csrf = ""
    return request


def _foreign(request: Request, body: bytes) -> Response | None:
    """Refuse a change that no page of ours asked for.

    A program with a token carries no cookie, so that no page can act in its place; without any
    sign-in the route itself refuses.
    """
    state = request.state
    if state.session is None and request.url.path not in FORMS_OF_STRANGERS:
        return None
    came_from = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if came_from != "same-origin" or (origin is not None and origin.lower() != own.lower()):
        return refuse(request, 403, "The request came from a page of another site.")
    sent = request.headers.get("x-csrf-token") or _of_form(request, body)
    if not state.csrf or not hmac.compare_digest(sent.encode(), state.csrf.encode()):
        detail = "The page has expired. Go back, load it anew and try again: nothing was changed."
        return refuse(request, 403, detail)
    return None


def _of_form(request: Request, body: bytes) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return ""
    try:
        fields = parse_qs(body.decode("latin-1"), max_num_fields=1000)
    except ValueError:
        return ""
    return fields.get("csrf_token", [""])[0]


def _again(body: bytes, receive: Receive) -> Receive:
    """Hand the body that was read on to the route."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return messages.pop() if messages else await receive()

    return receiving
