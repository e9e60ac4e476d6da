"""Whatever comes in, the listener stays up, answers the next peer, and gives everything back."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom import AE, build_context
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from daemon import contexts
from tests import soak
from tests.listener_process import ListenerProcess
from tests.pdus import request

TRIES = 120
COVERAGE_S = 300
LONG_TRIES = int(os.environ.get("HILUM_SOAK_FUZZ", "4000"))


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ListenerProcess]:
    root = tmp_path_factory.mktemp("root")
    limits = {"idle_timeout_s": 2, "request_timeout_s": 2, "max_message_bytes": 1 << 20,
              "max_associations": 50}  # fmt: skip
    with ListenerProcess(root, guarded=True, **limits) as one:
        yield one


def message() -> list[bytes]:
    """A C-STORE as its PDUs."""
    store, made = C_STORE(), C_STORE_RQ()
    store.MessageID, store.Priority = 1, 2
    store.AffectedSOPClassUID, store.AffectedSOPInstanceUID = contexts.COMPUTED_RADIOGRAPHY, "1.2.3"
    store.DataSet = BytesIO(bytes(300))
    made.primitive_to_message(store)
    return [bytes(P_DATA_TF(one).encode()) for one in made.encode_msg(1, 200)]


REQUEST, MESSAGE = request(), message()
RELEASE = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"

changes = st.lists(
    st.tuples(st.integers(0, 4000), st.one_of(st.integers(0, 255), st.binary(max_size=9))),
    max_size=8,
)


def changed(original: bytes, every: list[tuple[int, int | bytes]]) -> bytes:
    """Return bytes with some overwritten, and some put in or taken out."""
    content = bytearray(original)
    for at, what in every:
        at %= len(content) or 1
        if isinstance(what, int):
            content[at : at + 1] = bytes([what])
        elif what:
            content[at:at] = what
        else:
            del content[at : at + 3]
    return bytes(content)


pdu = st.builds(
    lambda kind, length, body: struct.pack(">BBL", kind, 0, len(body) if length is None else length)
    + body,
    st.integers(0, 9), st.one_of(st.none(), st.integers(0, 2**32 - 1)), st.binary(max_size=200),
)  # fmt: skip
conversation = st.one_of(
    st.builds(lambda one: [changed(REQUEST, one)], changes),
    st.builds(lambda one: [REQUEST, changed(b"".join(MESSAGE), one), RELEASE], changes),
    st.builds(lambda some: [REQUEST, *some], st.lists(pdu, max_size=6)),
    st.builds(lambda some: [REQUEST, *some], st.permutations([*MESSAGE, REQUEST, RELEASE])),
    st.lists(pdu, max_size=4),
    st.lists(st.binary(max_size=300), max_size=4),
)


def converse(port: int, parts: list[bytes]) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as peer:
        peer.settimeout(0.05)
        for part in parts:
            peer.sendall(part)
            with suppress(TimeoutError):
                peer.recv(1 << 16)


def answers(port: int) -> bool:
    entity = AE(ae_title="GOOD")
    entity.acse_timeout = entity.dimse_timeout = 10
    association = entity.associate(
        "127.0.0.1", port, contexts=[build_context(contexts.VERIFICATION)], ae_title="HILUM"
    )
    if not association.is_established:
        return False
    status = association.send_c_echo().get("Status")
    association.release()
    return status == 0x0000


def fuzz(listener: ListenerProcess, tries: int) -> None:
    said = 0

    @settings(
        max_examples=tries, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )  # fmt: skip
    @given(conversation)
    def one(parts: list[bytes]) -> None:
        nonlocal said
        said += 1
        converse(listener.port, parts)
        assert listener.alive
        if said % 20 == 0:
            assert answers(listener.port)

    one()
    alive, back = listener.alive and answers(listener.port), listener.settles(20)
    soak.record(
        soak.FUZZ, tried=said, limit="alive, answers, threads and descriptors back",
        seen=f"{'alive' if alive else 'dead'}, {'back' if back else listener.cost()}",
        good=alive and back,
    )  # fmt: skip


def test_changed_pdus(listener: ListenerProcess) -> None:
    fuzz(listener, TRIES)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_changed_pdus(listener: ListenerProcess) -> None:
    fuzz(listener, LONG_TRIES)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this machine")
def test_bytes_chosen_by_coverage(tmp_path: Path) -> None:
    """By atheris, in a process of its own; see tests/fuzz_pdus.py."""
    for number, known in enumerate([REQUEST, *MESSAGE, RELEASE, b"".join(MESSAGE)]):
        (tmp_path / str(number)).write_bytes(known)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz_pdus", str(COVERAGE_S), str(tmp_path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    (tried,) = re.findall(r"number_of_executed_units: (\d+)", ran.stderr)
    soak.record(
        soak.FUZZ, tried=int(tried), limit="nothing that is not refused, 10 s, 1 GiB",
        seen=f"all refused or read, in {COVERAGE_S} s of atheris", good=int(tried) > 0,
    )  # fmt: skip
