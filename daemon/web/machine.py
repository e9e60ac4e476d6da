"""The machine under the service: processes, disk, database, versions. From /proc, on Linux."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SHOWN = ("hilum", "openvino", "pydicom", "pynetdicom", "sqlalchemy", "fastapi", "numpy")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the service and what it holds of the memory, in bytes."""

    name: str
    pid: int
    resident: int
    proportional: int | None  # shared pages counted in parts; None where the kernel does not say


def processes(parent: int) -> list[Process]:
    """Return the service's processes: the supervisor `parent` and its children."""
    above = _process(parent)
    found = [None if above is None else replace(above, name="supervisor")]
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and _parent(folder) == parent:
            child = _process(int(folder.name))
            if child is not None and child.name.startswith("hilum-"):
                found.append(child)
    return sorted((one for one in found if one is not None), key=lambda one: one.pid)


def versions() -> dict[str, str]:
    """Return the versions of what matters, None of it imported."""
    found = {"Python": platform.python_version(), "kernel": platform.release()}
    for name in SHOWN:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def load() -> tuple[float, float, float]:
    """Return the machine's load over 1, 5 and 15 minutes."""
    return os.getloadavg()


def memory() -> tuple[int, int]:
    """Return what memory there is and what is available, in bytes."""
    fields = _fields(Path("/proc/meminfo"))
    return fields.get("MemTotal", 0), fields.get("MemAvailable", 0)


def _process(pid: int) -> Process | None:
    folder = Path(f"/proc/{pid}")
    try:
        name = (folder / "comm").read_text().strip()
        resident = _fields(folder / "status").get("VmRSS", 0)
    except OSError:
        return None
    try:
        proportional: int | None = _fields(folder / "smaps_rollup").get("Pss")
    except OSError:
        proportional = None
    return Process(name, pid, resident, proportional)


def _parent(folder: Path) -> int:
    try:
        # the name, in brackets, may hold anything
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return -1


def _fields(file: Path) -> dict[str, int]:
    """Read lines such as ``VmRSS:  1234 kB``, in bytes."""
    found = {}
    for line in file.read_text().splitlines():
        key, _, value = line.partition(":")
        number, _, unit = value.strip().partition(" ")
        if unit == "kB" and number.isdecimal():
            found[key] = int(number) * 1024
    return found
