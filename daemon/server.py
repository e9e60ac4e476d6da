"""The listening socket, and associations made of requests that the door let in."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationServer, RequestHandler

from daemon.door import Request, host_of
from daemon.transport import Budget, Limits, Wire

BACKLOG = 128  # connections that wait for the door


class Server(AssociationServer):  # type: ignore[misc]
    """pynetdicom's server without its loop, which waits for each TLS handshake."""

    request_queue_size = BACKLOG

    def __init__(
        self,
        *arguments: Any,
        share_port: bool,
        limits: Limits,
        budget: Budget,
        cut: Callable[[Association, str], None],
        **options: Any,
    ) -> None:
        """`share_port`: other processes listen on the port too. `cut` is told of an association
        that went beyond a limit, and why."""
        self._share_port = share_port
        self.limits = limits
        self.budget = budget
        self.cut = cut
        self._open: list[tuple[Association, str]] = []
        self._lock = threading.Lock()  # of that list
        super().__init__(*arguments, **options)

    def server_bind(self) -> None:
        """Bind the socket, where the kernel shares the connections out among several."""
        if self._share_port:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def admit(self, request: Request) -> None:
        """Make an association of a request, and start its threads."""
        opened = _Usher(request, self).association
        with self._lock:
            self._open.append((opened, host_of(request.address)))
        self.service_actions()  # now and then, a collection: associations are cycles

    def open_now(self) -> list[str]:
        """Return whose share each association that is open counts to."""
        with self._lock:
            for association, _ in self._open:
                if not association.is_alive():
                    _end(association)
            self._open = [one for one in self._open if _lives(one[0])]
            return [host for _, host in self._open]

    def drain(self, seconds: float) -> None:
        """Let the open associations end for so long, then abort the rest."""
        deadline = time.monotonic() + seconds
        while self.open_now() and time.monotonic() < deadline:
            time.sleep(0.02)
        for association, _ in self._open:
            if association.is_alive():
                association.abort()


class _Usher(RequestHandler):  # type: ignore[misc]
    """Starts one association."""

    association: Association

    def __init__(self, request: Request, server: Server) -> None:
        self._asked = request
        super().__init__(request.peer, request.address, server)

    def _create_association(self) -> Association:
        made = super()._create_association()
        server = self.server
        wire = Wire(
            made, self.request, server.limits, server.budget, self._asked.said,
            complain=lambda why: server.cut(made, why),
        )  # fmt: skip
        made.dul.event_queue.get_nowait()  # each of the two sockets says that it is connected
        made.dul.socket = wire
        self.association = made
        return made


def _lives(association: Association) -> bool:
    """Whether an association still has its place: one whose connection is closed only winds up."""
    wire = association.dul.socket
    return bool(association.is_alive() and wire is not None and wire.socket is not None)


def _end(association: Association) -> None:
    """Leave nothing of an association whose first thread has ended, perhaps by a fault."""
    association.dul.kill_dul()
    if association.dul.socket is not None:
        association.dul.socket._shutdown_socket()
