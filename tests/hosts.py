"""A hospital's network of namespaces: hosts that can be cut off, on one switch.

Each host has its own addresses and ports; the files are those of this machine, as on a file system
that all hosts share.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


@dataclass
class Network:
    """A switch and the hosts on it, each a network namespace that is ours alone."""

    mark: str = field(default_factory=lambda: f"hilum{os.getpid()}")
    hosts: dict[str, str] = field(default_factory=dict)  # name to address

    def add(self, name: str) -> str:
        """Add a host; return its address."""
        if len(name) > 5:
            raise ValueError(f"the name of a host has 1 to 5 letters. Received: {name}")
        address = f"10.77.0.{len(self.hosts) + 1}"
        space, port = self._space(name), f"p{name}"
        _ip("netns", "add", space)
        self.hosts[name] = address
        _ip("link", "add", port, "netns", self.mark, "type", "veth", "peer", "name", "eth0",
            "netns", space)  # fmt: skip
        _ip("-n", self.mark, "link", "set", port, "master", "switch", "up")
        _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", space, "link", "set", "eth0", "up")
        return address

    def on(self, name: str) -> tuple[str, ...]:
        """Return what runs a command on a host, to stand before it."""
        return ("ip", "netns", "exec", self._space(name))

    def cut(self, name: str) -> None:
        """Pull the cable."""
        _ip("-n", self.mark, "link", "set", f"p{name}", "down")

    def mend(self, name: str) -> None:
        """Put the cable back."""
        _ip("-n", self.mark, "link", "set", f"p{name}", "up")

    def _space(self, name: str) -> str:
        return f"{self.mark}-{name}"


@contextmanager
def network() -> Iterator[Network]:
    """Make a network, and remove it whatever happens."""
    one = Network()
    try:
        _ip("netns", "add", one.mark)
        _ip("-n", one.mark, "link", "add", "switch", "type", "bridge")
        _ip("-n", one.mark, "link", "set", "switch", "up")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.fail(f"cannot make a network namespace, for which root and iproute2 are: {error}")
    try:
        yield one
    finally:
        for space in (*(one._space(name) for name in one.hosts), one.mark):
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)
