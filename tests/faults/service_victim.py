"""`hilum serve` that is killed at the n-th step of one of its processes, as the test says.

A step is just before or just after an fsync or a rename of ours, a commit, and a send on a socket;
and the begin of a transaction. The test writes ``armed`` (role, n, what to kill) into the folder of
HILUM_KILLS; the process that comes to that step takes the file away, and kills.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect

from daemon import cli, supervisor


class Killer:
    """Counts the steps of the process that it is in, and kills at the one that is asked for."""

    def __init__(self, folder: Path) -> None:
        self._armed = folder / "armed"
        self._lock = Lock()
        self._order = ""
        self._steps = 0

    def step(self, *_: Any) -> None:
        """Kill, if this is the step."""
        try:
            order = self._armed.read_text()
        except FileNotFoundError:
            return
        role, at, victim = order.split()[:3]
        if Path("/proc/self/comm").read_text().strip() != f"hilum-{role}":
            return
        with self._lock:
            self._steps = self._steps + 1 if order == self._order else 1
            self._order = order
            if self._steps < int(at):
                return
            self._armed.rename(self._armed.with_name("killed"))
            if victim == "service":
                os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the call with a step before and one after it."""

        def stepped(*arguments: Any, **named: Any) -> Any:
            self.step()
            answer = call(*arguments, **named)
            self.step()
            return answer

        return stepped


def main() -> None:
    """Be the command line, with steps counted."""
    killer = Killer(Path(os.environ["HILUM_KILLS"]))
    os.fsync = killer.around(os.fsync)
    os.replace = killer.around(os.replace)
    event.listen(Engine, "begin", killer.step)
    DefaultDialect.do_commit = killer.around(DefaultDialect.do_commit)  # type: ignore[method-assign]
    for name in ("send", "sendall"):
        setattr(socket.socket, name, killer.around(getattr(socket.socket, name)))
    supervisor.RESTART_S = (0.05,)  # each of many deaths is a first one
    cli.main()


if __name__ == "__main__":
    sys.exit(main())
