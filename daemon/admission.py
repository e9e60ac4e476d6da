"""Who may open an association with us."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from daemon.settings import DicomSettings


@dataclass(frozen=True, slots=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 table 9-21) and, for the log, why."""

    result: int  # 1 permanent, 2 transient
    source: int  # 1 service user, 3 service provider (presentation)
    diagnostic: int
    reason: str


CALLED_AE_UNKNOWN = Rejection(1, 1, 7, "called AE title not recognised")
CALLING_AE_UNKNOWN = Rejection(1, 1, 3, "calling AE title or address not allowed")
LIMIT_EXCEEDED = Rejection(2, 3, 2, "association limit reached")


def judge(
    settings: DicomSettings, *, calling_ae: str, called_ae: str, address: str, open_now: int
) -> Rejection | None:
    """Return why an association is rejected, or None where it is accepted.

    `open_now` counts the associations that are open, the one in question included.
    """
    if open_now > settings.max_associations:
        return LIMIT_EXCEEDED
    if called_ae.strip() != settings.ae_title:
        return CALLED_AE_UNKNOWN
    if not any(
        _matches(caller, calling_ae.strip(), address) for caller in settings.allowed_callers
    ):
        return CALLING_AE_UNKNOWN
    return None


def _matches(caller: str, calling_ae: str, address: str) -> bool:
    title, _, network = caller.rpartition("@")
    if title not in ("*", calling_ae):
        return False
    if network == "*":
        return True
    peer = ipaddress.ip_address(address)
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
        peer = peer.ipv4_mapped
    return peer in ipaddress.ip_network(network, strict=False)
