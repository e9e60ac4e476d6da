"""A listener in a process of its own, whose threads, descriptors and memory can be counted.

Not guarded, it is pynetdicom's own server, with the same limit of associations and the same
time-outs: what the guards are for shows on it.
"""

from __future__ import annotations

import os
import ssl
import time
import warnings
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Any

import psutil
import pytest
from pynetdicom import AE, _config, evt

from daemon import admission, contexts, tls
from daemon.commitment import Receiver
from daemon.listener import Listener
from daemon.settings import DicomTlsSettings
from storage.database import open_database
from tests.listening import Bench

FORK = get_context("fork")  # all is imported already


class Unguarded(Listener):
    """The listener without its door and without its wires."""

    def start(self) -> int:
        """Open the port; return its number."""
        _config.LOG_HANDLER_LEVEL = "none"
        settings = self._settings
        entity = AE(ae_title=settings.ae_title)
        entity.maximum_pdu_size = settings.max_pdu_bytes
        entity.maximum_associations = settings.max_associations
        entity.network_timeout = entity.dimse_timeout = settings.idle_timeout_s
        entity.acse_timeout = settings.request_timeout_s
        entity.supported_contexts = contexts.accepted()
        server = entity.start_server(
            (settings.bind, 0),
            block=False,
            ssl_context=None if settings.tls is None else tls.server_context(settings.tls),
            evt_handlers=[
                (evt.EVT_C_ECHO, lambda _: 0x0000),
                (evt.EVT_C_STORE, self._store),
                *(self._receiver.offer(entity) if self._receiver else []),
            ],
        )
        assert server is not None
        return int(server.server_address[1])


class SlowReceiver(Receiver):
    """Takes reports on commitments as a busy database would."""

    def __init__(self) -> None:
        super().__init__(lambda: pytest.fail("not asked"))

    def report(self, event: evt.Event) -> tuple[int, None]:
        """Answer, late."""
        del event
        time.sleep(2)
        return 0x0110, None


def lax_context(settings: DicomTlsSettings) -> ssl.SSLContext:
    """TLS as it must not be: any version, any certificate or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.load_cert_chain(settings.certificate, settings.key)
    return context


class ListenerProcess:
    """The process, as a test sees it."""

    def __init__(self, root: Path, *, guarded: bool, **dicom: object) -> None:
        root.mkdir(parents=True, exist_ok=True)
        (root / "hilum.sqlite").write_bytes(_migrated())
        ours, theirs = FORK.Pipe()
        self._process = FORK.Process(
            target=_listen, args=(theirs, root, guarded, dicom), daemon=True
        )
        self._process.start()
        theirs.close()
        self.port = int(ours.recv())
        self.seen = psutil.Process(self._process.pid)
        self.bare = self.cost()

    def __enter__(self) -> ListenerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join(10)

    def cost(self) -> dict[str, int]:
        """Return its threads, its descriptors, and its memory in bytes."""
        return {
            "threads": self.seen.num_threads(),
            "descriptors": self.seen.num_fds(),
            "bytes": self.seen.memory_info().rss,
        }

    def settles(self, seconds: float) -> bool:
        """Whether threads and descriptors are back within that time to what they were, bare."""
        deadline = time.monotonic() + seconds
        while True:
            now = self.cost()
            # SQLite and the log may keep a few that were opened by the first image
            if (
                now["threads"] <= self.bare["threads"] + 1
                and now["descriptors"] <= self.bare["descriptors"] + 6
            ):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.is_alive()


def _listen(told: Connection, root: Path, guarded: bool, options: dict[str, Any]) -> None:
    """The process's whole life: it ends by being killed."""
    if options.pop("lax", False):
        tls.server_context = lax_context
        admission._is_its_own = lambda *_: True
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    receiver = SlowReceiver() if options.pop("slow_reports", False) else None
    bench = Bench(root, listener=Listener if guarded else Unguarded, receiver=receiver, **options)
    told.send(bench.port)
    while True:
        time.sleep(60)


@cache
def _migrated() -> bytes:
    """An empty database, made once."""
    file = Path(mkdtemp()) / "hilum.sqlite"
    database = open_database(f"sqlite:///{file}")
    database.migrate(file.parent / "backups")
    database.close()
    return file.read_bytes()
