"""A scripted TCP proxy before a PACS: it may hang, reset, or hold the answers back."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Script:
    """What one connection meets. Bytes are those of the sender to the PACS."""

    hang_after: int | None = None  # nothing passes either way any more
    reset_after: int | None = None  # RST to both
    answers_after_s: float = 0.0  # what the PACS says is held back for so long


class Proxy:
    """Passes bytes; connection n follows script n, those beyond the last pass freely."""

    def __init__(self, to: int, *scripts: Script) -> None:
        self._to, self._scripts = to, list(scripts)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.connections = 0

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            script = self._scripts.pop(0) if self._scripts else Script()
            self.connections += 1
            threading.Thread(target=self._follow, args=(near, script), daemon=True).start()

    def _follow(self, near: socket.socket, script: Script) -> None:
        passed, until = 0, time.monotonic() + 120
        with near, socket.create_connection(("127.0.0.1", self._to)) as far:
            while time.monotonic() < until:
                for one in select.select([near, far], [], [], 0.5)[0]:
                    try:
                        piece = one.recv(65536)
                        if one is far and piece:
                            time.sleep(script.answers_after_s)
                        if not piece:
                            return
                        (far if one is near else near).sendall(piece)
                    except OSError:
                        return
                    passed += len(piece) if one is near else 0
                if script.reset_after is not None and passed >= script.reset_after:
                    for one in (near, far):  # a close with nothing lingering is an RST
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                if script.hang_after is not None and passed >= script.hang_after:
                    time.sleep(max(0.0, until - time.monotonic()))
