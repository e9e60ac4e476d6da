"""Certificates for the tests of TLS, as `hilum tls` makes them, and some that it never would."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

from daemon import authority

NOW = dt.datetime.now(dt.UTC)
HOSTS = ["localhost", "127.0.0.1"]


class Certificates:
    """One authority, and a certificate of ours; further ones are issued when asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "certificates"
        self.ca, _ = authority.make_authority(self.folder / "ca", "Test authority", 3650, NOW)
        self.of("HILUM")

    def of(
        self, ae_title: str, *, name: str = "", days: int = 100, now: dt.datetime = NOW
    ) -> tuple[Path, Path]:
        """Return a certificate and its key, made at the first call for a name."""
        folder = self.folder / name
        if not (folder / f"{ae_title}.pem").exists():
            authority.issue(self.folder / "ca", folder, ae_title, HOSTS, days, now)
        return folder / f"{ae_title}.pem", folder / f"{ae_title}.key"

    def dicom(self, **more: Any) -> dict[str, Any]:
        """Return the table [dicom.tls]."""
        certificate, key = self.of("HILUM")
        return {"certificate": str(certificate), "key": str(key), "ca": str(self.ca), **more}

    def client(self, ae_title: str) -> ssl.SSLContext:
        """Return how a peer of that AE title speaks TLS."""
        context = ssl.create_default_context(cafile=self.ca)
        context.load_cert_chain(*self.of(ae_title))
        return context
