"""A listener in a process of its own, whose threads, descriptors and memory can be counted.

`python -m tests.listener_process ROOT '{"guarded": true, ...settings of [dicom]...}'` prints its port
and listens until its input ends. Not guarded, it is pynetdicom's own server, with the same limit of
associations and the same time-outs: what the guards are for shows on it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from pynetdicom import AE, _config, evt

from daemon import contexts, tls
from daemon.listener import Listener
from tests.listening import Bench

ROOT = Path(__file__).parents[1]


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
            evt_handlers=[(evt.EVT_C_ECHO, lambda _: 0x0000), (evt.EVT_C_STORE, self._store)],
        )
        assert server is not None
        return int(server.server_address[1])


class ListenerProcess:
    """The process, as a test sees it."""

    def __init__(self, root: Path, *, guarded: bool, **dicom: object) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.listener_process", str(root),
             json.dumps({"guarded": guarded, **dicom})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, cwd=ROOT,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.seen = psutil.Process(self._process.pid)
        self.bare = self.cost()

    def __enter__(self) -> ListenerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(10)

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
        return self._process.poll() is None


def main(root: str, told: str) -> None:
    """Listen until the input ends."""
    options: dict[str, Any] = json.loads(told)
    bench = Bench(Path(root), listener=Listener if options.pop("guarded") else Unguarded, **options)
    print(bench.port, flush=True)
    sys.stdin.read()
    bench.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
