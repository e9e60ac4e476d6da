"""HTTPS: the certificate and its key."""

from __future__ import annotations

import ssl

from daemon.errors import CannotListen
from daemon.settings import WebTlsSettings


def tls_context(settings: WebTlsSettings) -> ssl.SSLContext:
    """Return how HTTPS is served. Raises CannotListen where the files cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        raise CannotListen(
            f"web.tls: the certificate {settings.certificate} with the key {settings.key}"
            f" cannot be used: {error.strerror or error}"
        ) from error
    return context
