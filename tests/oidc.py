"""A small OpenID Connect provider on the loopback: real HTTP, real signatures, and real lies."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "hilum", "between us"


@dataclass
class OidcProvider:
    """The provider: what it claims of whoever comes, and how it signs that."""

    claims: dict[str, Any] = field(default_factory=dict)  # over the right ones
    without: tuple[str, ...] = ()  # claims that it leaves out
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one"}))
    signs_with: RSAKey | None = None  # another key than it publishes
    algorithm: str = "RS256"
    kid: str = "one"
    issuer: str = ""
    asked: list[dict[str, str]] = field(default_factory=list)  # of each authorization
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)
    _server: ThreadingHTTPServer | None = None

    def start(self) -> OidcProvider:
        """Listen on a free port."""
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._token(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Listen no more."""
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        if url.path == "/.well-known/openid-configuration":
            _answer(handler, {
                "issuer": self.issuer, "authorization_endpoint": self.issuer + "/authorize",
                "token_endpoint": self.issuer + "/token", "jwks_uri": self.issuer + "/keys",
            })  # fmt: skip
        elif url.path == "/keys":
            _answer(handler, {"keys": [self.key.as_dict(private=False)]})
        elif url.path == "/authorize":  # whoever comes is signed in
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            self.asked.append(asked)
            code = secrets.token_urlsafe()
            self._codes[code] = asked
            handler.send_response(302)
            back = urlencode({"code": code, "state": asked["state"]})
            handler.send_header("Location", f"{asked['redirect_uri']}?{back}")
            handler.end_headers()
        else:
            handler.send_error(404)

    def _token(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        asked = self._codes.pop(form["code"], None)
        credentials = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or handler.headers["Authorization"] != f"Basic {credentials}"
            or challenge != asked["code_challenge"]
            or form["redirect_uri"] != asked["redirect_uri"]
        ):
            handler.send_error(400)
            return
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "s-1", "iat": now, "exp": now + 300,
            "nonce": asked["nonce"], "preferred_username": "ann", "name": "Dr. Ann Low",
            "family_name": "Low", "given_name": "Ann", "groups": ["staff", "radiology"],
            **self.claims,
        }  # fmt: skip
        for name in self.without:
            del claims[name]
        header = {"alg": self.algorithm, "kid": self.kid}
        if self.algorithm == "none":
            parts = (json.dumps(header), json.dumps(claims))
            token = ".".join(base64.urlsafe_b64encode(p.encode()).decode().rstrip("=")
                             for p in parts) + "."  # fmt: skip
        else:
            token = jwt.encode(header, claims, self.signs_with or self.key)
        _answer(handler, {"access_token": "x", "token_type": "Bearer", "id_token": token})


def _answer(handler: BaseHTTPRequestHandler, told: dict[str, Any]) -> None:
    body = json.dumps(told).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
