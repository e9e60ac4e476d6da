"""What only some installations have."""

from __future__ import annotations

from importlib.util import find_spec

from daemon.errors import DaemonError


def needs_training() -> None:
    """Raise DaemonError where the training dependencies are not installed."""
    if find_spec("sklearn") is None:
        raise DaemonError(
            "this command needs the training dependencies: install hilum[training]"
            " (in a checkout: make check)"
        )
