"""Who may open an association with us."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from daemon.settings import DicomSettings
from daemon.tls import PeerCertificate


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21) and, for the log and the page Peers, why."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 3 service provider (presentation)
    diagnostic: int
    reason: str

    @property
    def pdu(self) -> bytes:
        """The PDU that says so."""
        said = bytes((0, self.result, self.source, self.diagnostic))
        return b"\x03\x00\x00\x00\x00\x04" + said


CALLED_AE_UNKNOWN = Rejection(1, 1, 7, "called AE title not recognised")
CALLING_AE_UNKNOWN = Rejection(1, 1, 3, "calling AE title or address not allowed")
CERTIFICATE_OF_ANOTHER = Rejection(1, 1, 3, "certificate is not that of the calling AE title")
LIMIT_EXCEEDED = Rejection(2, 3, 2, "association limit reached")
SHARE_EXCEEDED = Rejection(2, 3, 2, "association limit of one address reached")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association; AE titles without their padding."""

    calling_ae: str
    called_ae: str
    address: str
    certificate: PeerCertificate | None = None


def judge(
    settings: DicomSettings, caller: Caller, *, open_now: int, open_there: int
) -> Rejection | None:
    """Return why an association is rejected, or None where it is accepted.

    `open_now` counts the associations that are open, the one in question included; `open_there`
    those of its address.
    """
    if open_now > settings.max_associations:
        return LIMIT_EXCEEDED
    if open_there > settings.most_of_one_address:
        return SHARE_EXCEEDED
    if caller.called_ae != settings.ae_title:
        return CALLED_AE_UNKNOWN
    if not any(
        _matches(allowed, caller.calling_ae, caller.address) for allowed in settings.allowed_callers
    ):
        return CALLING_AE_UNKNOWN
    if settings.tls is not None and not _is_its_own(settings, caller):
        return CERTIFICATE_OF_ANOTHER
    return None


def _is_its_own(settings: DicomSettings, caller: Caller) -> bool:
    """Whether the certificate is that of the AE title."""
    assert settings.tls is not None
    bound = [one.certificate for one in settings.tls.peers if one.ae_title == caller.calling_ae]
    if caller.certificate is None:
        return not bound and settings.tls.client_certificate == "optional"
    said = caller.certificate.names | {caller.certificate.fingerprint}
    return any(one in said for one in bound or [caller.calling_ae])


def _matches(allowed: str, calling_ae: str, address: str) -> bool:
    title, _, network = allowed.rpartition("@")
    if title not in ("*", calling_ae):
        return False
    if network == "*":
        return True
    peer = ipaddress.ip_address(address)
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    return peer in ipaddress.ip_network(network, strict=False)
