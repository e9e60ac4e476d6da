"""How the service answers what it refuses: a calm page for a person, problem JSON (RFC 9457) for a
program; and the headers that every answer carries."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.datastructures import MutableHeaders

from daemon.web.context import site

# Nothing inline, nothing from elsewhere. WebAssembly is for the viewer's decoders.
CSP = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self';"
    " img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self';"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # not no-referrer: with that, a form's own Origin would be null
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
HSTS = "max-age=31536000"
PROGRAMS = ("/api/", "/dicomweb/", "/health/")


def secure(headers: MutableHeaders, scheme: str, path: str) -> None:
    """Add the headers of every answer; what a route has set of caching stays."""
    for name, value in HEADERS.items():
        headers[name] = value
    if scheme == "https":
        headers["Strict-Transport-Security"] = HSTS
    if path.startswith("/static/viewer/assets/"):  # their names change with their content
        headers["Cache-Control"] = "public, max-age=31536000, immutable"
    elif path.startswith("/static/"):
        headers["Cache-Control"] = "no-cache"
    else:
        headers.setdefault("Cache-Control", "no-store")


def wants_page(request: Request) -> bool:
    """Tell whether a person reads the answer."""
    if request.url.path.startswith(PROGRAMS):
        return False
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted or "hx-request" in request.headers


def refuse(
    request: Request, status: int, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """Answer a request that is not served, and say why."""
    if status == HTTPStatus.UNAUTHORIZED and wants_page(request):
        return _to_sign_in(request)
    title = HTTPStatus(status).phrase
    if wants_page(request):
        context = {"status": status, "title": title, "detail": detail}
        return site(request).templates.TemplateResponse(
            request, "error.html", context, status_code=status, headers=headers
        )
    if status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer", **(headers or {})}
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JSONResponse(problem, status, headers, media_type="application/problem+json")


def _to_sign_in(request: Request) -> Response:
    """Send a person to sign in, and back to the page that was asked for."""
    if "hx-request" in request.headers:  # a part of a page: the whole of it has to go
        shown = _path_of(request.headers.get("hx-current-url", ""))
        return Response(status_code=401, headers={"HX-Redirect": sign_in_url(shown)})
    wanted = request.url.path if request.method == "GET" else ""
    return RedirectResponse(sign_in_url(wanted), 303)


def _path_of(url: str) -> str:
    """Return the path of a URL, empty where it has none."""
    _, _, rest = url.partition("://")
    _, slash, path = rest.partition("/")
    return slash + path.partition("?")[0].partition("#")[0]


def sign_in_url(wanted: str) -> str:
    """Return the address of the sign-in page, which leads back to a path of ours."""
    return f"/sign-in?next={quote(wanted)}" if local(wanted) not in ("", "/") else "/sign-in"


def local(path: str) -> str:
    """Return the path where it is one of this service, else an empty string."""
    fine = path.startswith("/") and not path.startswith("//") and path.isprintable()
    return path if fine and "\\" not in path and not path.startswith("/sign-in") else ""
