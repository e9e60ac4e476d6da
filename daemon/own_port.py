"""Our own DICOM port as a peer that is sent to."""

from __future__ import annotations

import ipaddress

from daemon.errors import CanaryLost
from daemon.settings import PacsSettings, PacsTlsSettings, Settings


def own_port(settings: Settings) -> PacsSettings:
    """Return our own port as a peer that is sent to. Raises CanaryLost where it has no number."""
    dicom = settings.dicom
    if dicom.port == 0:
        raise CanaryLost("dicom.port is 0, any free one: the canary needs a fixed port.")
    own = dicom.tls
    tls = None if own is None else PacsTlsSettings(
        ca=own.ca, certificate=own.certificate, key=own.key,
        server_name=settings.canary.server_name,
    )  # fmt: skip
    return PacsSettings(
        name="own", ae_title=dicom.ae_title, host=own_address(dicom.bind), port=dicom.port, tls=tls
    )


def own_address(bind: str) -> str:
    """Return the address at which a service that listens there is reached from this machine."""
    address = ipaddress.ip_address(bind)
    if not address.is_unspecified:
        return bind
    return "127.0.0.1" if address.version == 4 else "::1"
