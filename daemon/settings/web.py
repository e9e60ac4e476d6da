"""The pages, the API and DICOMweb."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from daemon.settings.section import Section
from storage.people import Role


class WebTlsSettings(Section):
    """HTTPS."""

    certificate: Path = Field(description="Certificate chain, a PEM file.")
    key: Path = Field(description="Its private key, a PEM file that only the service can read.")


class OidcSettings(Section):
    """Sign-in by an OpenID Connect provider; the secret comes from HILUM_OIDC_CLIENT_SECRET."""

    issuer: str = Field(description="The provider's issuer URL.", pattern=r"^https?://[^\s?#]+$")
    client_id: str = Field(description="Our name at the provider.", min_length=1)
    role_claim: str = Field("groups", description="Claim of the ID token that tells the role.")
    roles: dict[str, Role] = Field(
        description="Value of that claim to radiologist, administrator or auditor.", min_length=1
    )
    redirect_uri: str | None = Field(
        None,
        description="Address of /sign-in/callback as browsers see it, as the provider knows it;"
        " without one, made of the request's.",
        pattern=r"^https?://[^\s?#]+/sign-in/callback$",
    )

    @model_validator(mode="after")
    def _private(self) -> Self:
        host = urlsplit(self.issuer).hostname or ""
        if not (self.issuer.startswith("https:") or host == "localhost" or _is_loopback(host)):
            raise ValueError("the issuer must be reached by https")
        return self


class WebSettings(Section):
    """The pages, the API and DICOMweb."""

    bind: str = Field("127.0.0.1", description="IP address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    tls: WebTlsSettings | None = Field(None, description="HTTPS; without it, HTTP.")
    insecure_http: bool = Field(
        False,
        description="Whether HTTP is let go where bind is not this machine alone, for instance"
        " behind a proxy that has HTTPS.",
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Names that browsers may call the service by, beside its IP addresses,"
        " localhost and this machine's name.",
    )
    proxies: tuple[str, ...] = Field(
        (), description="Addresses of proxies whose X-Forwarded-For and -Proto are believed."
    )
    session_idle_minutes: float = Field(
        15.0, ge=0.1, le=480, description="A session ends when nothing was done for so long."
    )
    session_hours: float = Field(
        10.0, ge=0.1, le=168, description="A session ends so long after sign-in in any case."
    )
    max_request_bytes: int = Field(
        1 << 20, ge=16384, le=1 << 26, description="Largest request that is read, in bytes."
    )
    oidc: OidcSettings | None = Field(None, description="Sign-in by an OpenID Connect provider.")

    @model_validator(mode="after")
    def _closed(self) -> Self:
        here = self.bind == "localhost" or _is_loopback(self.bind)
        if not here and self.tls is None and not self.insecure_http:
            raise ValueError(
                f'with bind = "{self.bind}" passwords and patient data would cross the network in'
                " the clear: set [web.tls], or insecure_http = true behind a proxy that has HTTPS"
            )
        return self


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
