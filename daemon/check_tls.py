"""What `hilum check` says of certificates: that they can be used, and until when."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

from daemon import authority, tls
from daemon.check_storage import Finding
from daemon.errors import CertificateUnusable
from daemon.settings import Settings

SOON_DAYS = 30


def look(settings: Settings) -> Iterator[Finding]:
    """Look at the certificates of the DICOM port, of the pages, and of ours to each PACS."""
    now = dt.datetime.now(dt.UTC)
    own = settings.dicom.tls
    if own is not None:
        try:
            tls.server_context(own)
        except CertificateUnusable as error:
            remedy = "set dicom.tls to PEM files that belong together"
            yield Finding("DICOM TLS", False, str(error), remedy)
        else:
            way = f"client certificates {own.client_certificate}"
            yield _until("DICOM TLS", own.certificate, way, now)
            yield _until("DICOM TLS authorities", own.ca, "callers' certificates", now)
    if settings.web.tls is not None:
        yield _until("pages' certificate", settings.web.tls.certificate, "HTTPS", now)
    for pacs in settings.pacs:
        if pacs.tls is None or pacs.tls.certificate is None:
            continue
        if own is None or pacs.tls.certificate != own.certificate:
            yield _until(f"PACS {pacs.name}: certificate", pacs.tls.certificate, "ours to it", now)


def _until(what: str, file: Path, way: str, now: dt.datetime) -> Finding:
    """Say until when the first certificate of a file is valid."""
    renew = "renew it: put a new certificate and key in place of the old"
    try:
        shown = authority.show(file)
    except CertificateUnusable as error:
        return Finding(what, False, str(error), renew)
    says = f"{way}; {shown.subject}, valid until {shown.not_after:%Y-%m-%d}"
    left = shown.days_left(now)
    if shown.not_before > now:
        return Finding(what, False, f"{says}, not valid before {shown.not_before}", renew)
    if left < 0:
        return Finding(what, False, f"{says}: expired", renew)
    if left < SOON_DAYS:
        return Finding(what, True, f"{says}: {left:.0f} days", renew)
    return Finding(what, True, says)
