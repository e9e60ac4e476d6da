"""Sign-in by an OpenID Connect provider: authorization code flow with PKCE (OpenID Connect Core 1.0
section 3.1, RFC 7636). Loaded where [web.oidc] is set."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import urlencode

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError, MissingKeyError
from joserfc.jwk import KeySet

from daemon.errors import DaemonError
from daemon.settings import OidcSettings
from storage.people import Role

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
PENDING, PENDING_S = 1000, 600.0  # sign-ins under way, and for how long each
KNOWN_S = 3600.0  # what the provider says of itself is asked anew after that
LEEWAY_S = 60  # between the provider's clock and ours
TIMEOUT_S = 10.0


class OidcError(DaemonError):
    """The provider's answer cannot be used."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the provider has signed in."""

    issuer: str
    subject: str
    login: str  # as the provider calls the person; ours may differ
    name: str
    person_name: str  # VR PN
    role: Role
    wanted: str  # the path that the person was on the way to


@dataclass(frozen=True, slots=True)
class _Pending:
    binding: str  # the cookie of the browser that began
    nonce: str
    verifier: str
    redirect_uri: str
    wanted: str
    until: float


class Provider:
    """The provider as this service uses it. Safe to use from several threads."""

    def __init__(self, settings: OidcSettings, secret: str, clock: Callable[[], float]) -> None:
        """Know its address; it is first asked when somebody signs in."""
        self._settings, self._secret, self._clock = settings, secret, clock
        self._lock = Lock()
        self._pending: OrderedDict[str, _Pending] = OrderedDict()
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._known_until = 0.0

    def begin(self, redirect_uri: str, wanted: str) -> tuple[str, str]:
        """Return the address to send the browser to, and the cookie that binds it to the answer.

        Raises OidcError where the provider does not answer.
        """
        metadata = self._look_up()
        state, nonce, verifier, binding = (secrets.token_urlsafe(32) for _ in range(4))
        digest = hashlib.sha256(verifier.encode()).digest()
        with self._lock:
            until = self._clock() + PENDING_S
            redirect_uri = self._settings.redirect_uri or redirect_uri
            self._pending[state] = _Pending(binding, nonce, verifier, redirect_uri, wanted, until)
            while len(self._pending) > PENDING:
                self._pending.popitem(last=False)
        asked = {
            "response_type": "code", "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri, "scope": "openid profile", "state": state,
            "nonce": nonce, "code_challenge_method": "S256",
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        }  # fmt: skip
        return f"{metadata['authorization_endpoint']}?{urlencode(asked)}", binding

    def finish(self, state: str, binding: str, code: str) -> Identity:
        """Take the provider's answer, once, from the browser that began. Raises OidcError."""
        with self._lock:
            pending = self._pending.pop(state, None)
        if pending is None or pending.until < self._clock():
            raise OidcError("This sign-in was not begun here, or took too long.")
        if not secrets.compare_digest(pending.binding.encode(), binding.encode()):
            raise OidcError("This sign-in was begun in another browser.")
        claims = self._claims(self._exchange(code, pending), pending.nonce)
        return self._identity(claims, pending.wanted)

    def _exchange(self, code: str, pending: _Pending) -> str:
        metadata = self._look_up()
        form = {
            "grant_type": "authorization_code", "code": code, "code_verifier": pending.verifier,
            "redirect_uri": pending.redirect_uri, "client_id": self._settings.client_id,
        }  # fmt: skip
        ways = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        basic = httpx.BasicAuth(self._settings.client_id, self._secret)
        by_header = bool(self._secret) and "client_secret_basic" in ways
        if self._secret and not by_header:
            form["client_secret"] = self._secret
        answer = self._ask("POST", metadata["token_endpoint"], form, basic if by_header else None)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise OidcError("The provider gave no ID token.")
        return token

    def _claims(self, token: str, nonce: str) -> dict[str, Any]:
        """Verify the ID token (OpenID Connect Core 1.0 section 3.1.3.7)."""
        ours = self._settings.client_id
        rules = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock()), leeway=LEEWAY_S,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": ours},
            sub={"essential": True}, exp={"essential": True}, iat={"essential": True},
            nonce={"essential": True, "value": nonce}, azp={"value": ours},
        )  # fmt: skip
        try:
            claims = self._decode(token)
            rules.validate(claims)
        except (JoseError, ValueError) as error:
            kind = type(error).__name__.removesuffix("Error")
            raise OidcError(f"The provider's ID token was refused ({kind}).") from error
        audience = claims["aud"]
        if isinstance(audience, list) and len(audience) > 1 and claims.get("azp") != ours:
            raise OidcError("The provider's ID token was refused (made for several).")
        return claims

    def _decode(self, token: str) -> dict[str, Any]:
        self._look_up()
        assert self._keys is not None
        try:
            return dict(jwt.decode(token, self._keys, algorithms=ALGORITHMS).claims)
        except (InvalidKeyIdError, MissingKeyError):  # it may have a new key since we asked
            self._known_until = 0.0
            self._look_up()
            return dict(jwt.decode(token, self._keys, algorithms=ALGORITHMS).claims)

    def _identity(self, claims: dict[str, Any], wanted: str) -> Identity:
        told = claims.get(self._settings.role_claim, [])
        values = {str(one) for one in (told if isinstance(told, list) else [told])}
        role = next((ours for name, ours in self._settings.roles.items() if name in values), None)
        if role is None:
            raise OidcError("Your account has no role in this service. Ask its administrator.")
        subject = str(claims["sub"])
        login = str(claims.get("preferred_username") or claims.get("email") or subject)
        name = str(claims.get("name") or login)
        parts = (str(claims.get("family_name") or name), str(claims.get("given_name") or ""))
        person_name = "^".join(re.sub(r"[\\^=\x00-\x1f\x7f]", " ", part) for part in parts)
        return Identity(
            self._settings.issuer, subject, login, name, person_name.rstrip("^")[:64], role, wanted
        )

    def _look_up(self) -> dict[str, Any]:
        """Return what the provider says of itself, asked for at most once an hour."""
        with self._lock:
            if self._clock() < self._known_until:
                return self._metadata
        issuer = self._settings.issuer
        metadata = self._ask("GET", issuer.rstrip("/") + "/.well-known/openid-configuration")
        if metadata.get("issuer") != issuer:
            raise OidcError("The provider calls itself by another name than web.oidc.issuer.")
        try:
            keys = KeySet.import_key_set(self._ask("GET", metadata["jwks_uri"]))  # type: ignore[arg-type]
            metadata["authorization_endpoint"], metadata["token_endpoint"]
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise OidcError("The provider does not describe itself as OpenID does.") from error
        with self._lock:
            self._metadata, self._keys = metadata, keys
            self._known_until = self._clock() + KNOWN_S
        return metadata

    def _ask(
        self, method: str, url: str, form: dict[str, str] | None = None,
        auth: httpx.BasicAuth | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        try:
            answer = httpx.request(method, url, data=form, auth=auth, timeout=TIMEOUT_S)
            answer.raise_for_status()
            told = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise OidcError("The provider of the hospital's accounts does not answer.") from error
        if not isinstance(told, dict):
            raise OidcError
        return told
