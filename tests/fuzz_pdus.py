"""What a peer sends, made by atheris: guided by which lines of ours and of pynetdicom it reaches.

`python -m tests.fuzz_pdus SECONDS FOLDER` starts from what is in the folder. It ends with status 0
where no bytes brought out anything but what is allowed: a PDU is read and decoded, refused by us,
or refused by pynetdicom, within memory and time.
"""

from __future__ import annotations

import socket
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import atheris

with atheris.instrument_imports(include=["pynetdicom.pdu", "pynetdicom.pdu_items", "daemon"]):
    from pynetdicom.dimse_messages import DIMSEMessage
    from pynetdicom.dul import _PDU_TYPES
    from pynetdicom.pdu import P_DATA_TF

    from daemon.errors import PeerMisbehaved
    from daemon.transport import Budget, Limits, Wire

LIMITS = Limits(1 << 16, 0.5, 1 << 16, 10.0, 1 << 20, 100.0)


def one(data: bytes) -> None:
    """Have a wire read bytes as the thread of an association does, and pynetdicom decode them."""
    peer, ours = socket.socketpair()
    with peer, ours:
        peer.sendall(data[: 1 << 15])
        peer.shutdown(socket.SHUT_WR)
        association = SimpleNamespace(dul=Mock(), dimse=Mock())
        budget = Budget(1 << 17)
        wire = Wire(association, ours, LIMITS, budget, b"", lambda _: None)
        try:
            while _read(wire):
                pass
        except PeerMisbehaved:
            pass
        wire._end_message()
        assert budget._left == 1 << 17, "bytes that nobody gave back"


def _read(wire: Wire) -> bool:
    """Read one PDU, as pynetdicom's DULServiceProvider._read_pdu_data does."""
    header = wire.recv(6)
    if len(header) < 6 or header[0] not in range(1, 8):
        return False
    body = wire.recv(int.from_bytes(header[2:6], "big"))
    whole = bytes(header + body)
    if len(whole) != 6 + int.from_bytes(header[2:6], "big"):
        return False
    kind, _ = _PDU_TYPES[whole[:1]]
    pdu = kind()
    try:
        pdu.decode(whole)
        if isinstance(pdu, P_DATA_TF):
            DIMSEMessage().decode_msg(pdu.to_primitive())
    except Exception:  # noqa: BLE001 - pynetdicom aborts the association at any
        return False
    return True


def main(seconds: str, folder: str) -> None:
    """Fuzz for so long."""
    atheris.Setup(
        [sys.argv[0], folder, f"-max_total_time={seconds}", "-max_len=4096", "-verbosity=0",
         "-rss_limit_mb=1024", "-timeout=10", "-print_final_stats=1"],
        one,
    )  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
