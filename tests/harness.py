"""Real peers and the real service, for the tests that need them running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.sop_class import ComprehensiveSRStorage, Verification

from daemon import demo_peers
from tests import databases

_config.LOG_HANDLER_LEVEL = "none"
free_port = demo_peers.free_port
PASSWORD = "correct horse battery"


def until(condition: Callable[[], Any], seconds: float = 20.0, every: float = 0.02) -> Any:
    """Poll until the condition is true, and return it; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(every)


@dataclass
class Pacs:
    """A storage SCP that answers as it is told, and keeps what it answered 0000H or Bxxx."""

    ae_title: str = "TESTPACS"
    contexts: tuple[str, ...] = (ComprehensiveSRStorage, Verification)
    answers: list[int] = field(default_factory=list)  # statuses for the next C-STOREs, then 0000H
    silence_s: float = 0.0  # how long to wait before an answer
    stored: list[Dataset] = field(default_factory=list)
    asked: int = 0
    port: int = 0
    _server: Any = None

    def start(self, port: int = 0) -> Pacs:
        entity = AE(ae_title=self.ae_title)
        for uid in self.contexts:
            entity.add_supported_context(uid)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, lambda _: 0x0000)]
        self._server = entity.start_server(
            ("127.0.0.1", port or self.port), block=False, evt_handlers=handlers
        )
        self.port = self._server.server_address[1]
        return self

    def stop(self) -> None:
        if self._server is not None:
            for association in self._server.active_associations:
                association.abort()
            self._server.shutdown()
            self._server = None

    def _store(self, event: Any) -> int:
        self.asked += 1
        if self.silence_s:
            time.sleep(self.silence_s)
        status = self.answers.pop(0) if self.answers else 0x0000
        if status == 0x0000 or status >> 12 == 0xB:
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.stored.append(dataset)
        return status


class Orthanc(demo_peers.Orthanc):
    """The real Orthanc, and what tests ask of it."""

    def held(self) -> list[Dataset]:
        """Return the reports that it holds, by version."""
        found = [dcmread(BytesIO(self.raw(f"/instances/{one}/file"))) for one in self.reports()]
        return sorted(found, key=lambda one: int(one.InstanceNumber))

    def reports(self) -> list[str]:
        """Return Orthanc's ids of all the SR instances that it holds."""
        return [
            instance
            for series in self.get("/series")
            if self.get(f"/series/{series}")["MainDicomTags"].get("Modality") == "SR"
            for instance in self.get(f"/series/{series}")["Instances"]
        ]


@dataclass
class Service:
    """A real `hilum serve`, its log and its storage."""

    folder: Path
    config: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    module: str = "daemon"  # that runs as the command `hilum`
    within: tuple[str, ...] = ()  # a command that runs it, as one that gives it a disk of its own

    @property
    def database_url(self) -> str:
        """Where its database is."""
        return databases.url(self.folder / "root" / "hilum.sqlite")

    def start(self, environment: dict[str, str] | None = None, *, ready: bool = True) -> Service:
        self.log = []
        hilum = (*self.within, sys.executable, "-m", self.module)
        self.process = subprocess.Popen(
            [*hilum, "serve", "--config", str(self.config)],
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )  # fmt: skip
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()
        self.port = self.saw("listener.listening", 30)["port"]
        if ready:
            self.saw("worker.ready", 60)
        return self

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with (self.folder / "service.log").open("ab") as copy:
            for line in process.stderr:
                copy.write(line)
                copy.flush()
                try:
                    self.log.append(json.loads(line))
                except ValueError:
                    self.log.append({"event": "not json", "text": line.decode(errors="replace")})

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record for record in list(self.log) if record["event"] == name]

    def saw(self, name: str, seconds: float = 20.0, count: int = 1) -> dict[str, Any]:
        """Wait until the event was logged so many times; return its last record."""
        try:
            found = until(lambda: len(found := self.events(name)) >= count and found, seconds)
        except AssertionError:
            raise AssertionError(f"{name} x {count} not logged; log: {self.log[-12:]}") from None
        record: dict[str, Any] = found[-1]
        return record

    def stop(self, seconds: float = 15.0) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def hilum(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return hilum(*arguments, "--config", str(self.config))

    def add_user(self, login: str, role: str) -> None:
        """Make an account by the command line, as the first one is made."""
        added = hilum(
            "user", "add", login, "--role", role, "--name", login.capitalize(),
            "--person-name", f"{login.capitalize()}^Test", "--password-stdin",
            "--config", str(self.config), stdin=PASSWORD + "\n",
        )  # fmt: skip
        assert added.returncode == 0, added.stderr

    def queue(self) -> dict[str, Any]:
        listed: dict[str, Any] = json.loads(self.hilum("queue", "list", "--json").stdout)
        return listed


def hilum(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        input=stdin, capture_output=True, text=True, check=False, timeout=170,
    )  # fmt: skip


def write_config(folder: Path, pacs_port: int | None, **sections: dict[str, Any]) -> Path:
    """Write a settings file: port 0, storage under the folder, no quiet time, one PACS."""
    tables: dict[str, dict[str, Any]] = {
        "dicom": {"bind": "127.0.0.1", "port": 0},
        "storage": {"root": str(folder / "root"), "reserve_bytes": 0},
        "report": {"study_quiet_s": 0},
        "web": {"port": 0},
    }
    if databases.POSTGRESQL:
        tables["storage"]["database_url"] = databases.url(folder / "root" / "hilum.sqlite")
    for name, values in sections.items():
        tables.setdefault(name, {}).update(values)
    pacs = tables.pop("pacs", {})
    lines = []
    for name, values in tables.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    if pacs_port is not None:
        pacs = {"name": "test", "ae_title": "TESTPACS", "host": "127.0.0.1", "port": pacs_port,
                "timeout_s": 5, **pacs}  # fmt: skip
        lines += ["[[pacs]]", *(f"{key} = {json.dumps(value)}" for key, value in pacs.items())]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "hilum.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


@contextmanager
def running(service: Service, **options: Any) -> Iterator[Service]:
    """Start the service, and end it whatever happens."""
    try:
        yield service.start(**options)
    finally:
        if service.process is not None and service.process.poll() is None:
            service.kill()
