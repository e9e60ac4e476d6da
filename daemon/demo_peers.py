"""The real processes of `hilum demo`: a PACS and the service, on free ports of the loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from pynetdicom import AE, evt

from daemon.contexts import COMPREHENSIVE_SR, SECONDARY_CAPTURE, UNCOMPRESSED
from daemon.errors import DaemonError

WAIT_S = 30.0  # for any answer, at most


class Pacs(Protocol):
    """What the demo asks of a PACS."""

    name: str
    dicom_port: int

    def fetch(self, folder: Path) -> list[Path]:
        """Write each object that the PACS holds as a file; return the files."""


def orthanc_settings(storage: Path, dicom_port: int, http_port: int) -> dict[str, Any]:
    """Return a configuration for an Orthanc on the loopback alone."""
    return {
        "Name": "demo", "StorageDirectory": str(storage), "IndexDirectory": str(storage),
        "DicomAet": "TESTPACS", "DicomPort": dicom_port, "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True, "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "HttpPort": http_port, "HttpServerEnabled": True, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "Plugins": [], "OverwriteInstances": False,
        "HttpBindAddresses": ["127.0.0.1"], "LoggingLevel": "default",
    }  # fmt: skip


@dataclass
class Orthanc:
    """A real Orthanc, as Debian packages it, on free ports of the loopback."""

    folder: Path
    dicom_port: int = 0
    http_port: int = 0
    name: str = "Orthanc"
    _process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def installed() -> bool:
        """Tell whether there is one on this machine."""
        return shutil.which("Orthanc") is not None

    def start(self) -> Self:
        """Start it on what its folder holds; return when it answers."""
        self.dicom_port = self.dicom_port or free_port()
        self.http_port = self.http_port or free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "orthanc.json"
        settings = orthanc_settings(self.folder / "storage", self.dicom_port, self.http_port)
        configuration.write_text(json.dumps(settings, indent=1))
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["Orthanc", str(configuration)], stdout=log, stderr=log
            )
        wait(self._alive, "Orthanc")
        return self

    def stop(self) -> None:
        """End it; what it holds stays in the folder."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def fetch(self, folder: Path) -> list[Path]:
        """Write each object that Orthanc holds as a file; return the files."""
        files = []
        for identifier in self.get("/instances"):
            file = folder / f"{identifier}.dcm"
            file.write_bytes(self.raw(f"/instances/{identifier}/file"))
            files.append(file)
        return files

    def get(self, path: str) -> Any:
        """Return what its REST interface answers, as JSON."""
        return json.loads(self.raw(path))

    def raw(self, path: str) -> bytes:
        """Return the bytes that its REST interface answers."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())

    def _alive(self) -> bool:
        try:
            self.get("/system")
        except OSError:
            return False
        return True


@dataclass
class SmallPacs:
    """A storage SCP of the demo's own, where no Orthanc is installed."""

    folder: Path
    dicom_port: int = 0
    name: str = "a small storage SCP (install orthanc for a real PACS)"

    def start(self) -> None:
        """Listen on a free port of the loopback."""
        entity = AE(ae_title="TESTPACS")
        for sop_class in (COMPREHENSIVE_SR, SECONDARY_CAPTURE):
            entity.add_supported_context(sop_class, list(UNCOMPRESSED))
        handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, self._keep)]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.dicom_port = int(server.server_address[1])

    def _keep(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        (self.folder / f"{uid}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    def fetch(self, folder: Path) -> list[Path]:
        """Write each object that was stored as a file; return the files."""
        return [Path(shutil.copy(file, folder)) for file in sorted(self.folder.iterdir())]


@contextmanager
def pacs(folder: Path) -> Iterator[Pacs]:
    """Run a PACS with an empty storage: Orthanc where it is installed."""
    if not Orthanc.installed():
        storage = folder / "pacs-storage"
        storage.mkdir(exist_ok=True)
        small = SmallPacs(storage)
        small.start()
        yield small
        return
    orthanc = Orthanc(folder / "orthanc")
    try:
        yield orthanc.start()
    finally:
        orthanc.stop()


def free_port() -> int:
    """Return a TCP port that is free on the loopback now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait(condition: Callable[[], Any], what: str, seconds: float = WAIT_S) -> Any:
    """Poll until the condition is true and return it. Raises DaemonError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise DaemonError(f"{what}: no answer within {seconds:.0f} s")
        time.sleep(0.02)
    return value


@dataclass
class Service:
    """The real service, as a process of its own, known by its log."""

    config: Path
    log_file: Path
    port: int = 0
    pages: str = ""  # where they are
    ready: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it until the end of the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "serve", "--config", str(self.config)],
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        try:
            wait(self._started, f"hilum serve (see {self.log_file})")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            reader.join(5)

    def _started(self) -> bool:
        return self.ready.is_set() and self.port > 0 and self.pages != ""

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with self.log_file.open("wb") as copy:
            for line in process.stderr:
                copy.write(line)
                copy.flush()
                record = json.loads(line) if line.startswith(b"{") else {}
                if record.get("event") == "listener.listening":
                    self.port = int(record["port"])
                elif record.get("event") == "web.listening":
                    self.pages = record["url"]
                elif record.get("event") == "worker.ready":
                    self.ready.set()
