"""`hilum demo`: real radiographs through the real service into a PACS, and what came of them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom import AE, _config, evt
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from daemon.contexts import COMPREHENSIVE_SR, SECONDARY_CAPTURE, UNCOMPRESSED
from daemon.errors import DaemonError
from daemon.report import render_text
from daemon.simulate import SendOutcome, SimulatedObject, demo_objects, send
from storage.database import open_database
from storage.outbox import Outbox
from storage.records import DeliveryState, ResultStatus, StudyRow
from storage.studies import Studies

WAIT_S = 30.0  # for one report, at most
RADIOGRAPHS = Path(__file__).parents[1] / "deploy" / "demo"


class Pacs(Protocol):
    """What the demo asks of a PACS."""

    name: str
    port: int

    def fetch(self, folder: Path) -> list[Path]:
        """Write each object that the PACS holds as a file; return the files."""


def orthanc_settings(storage: Path, dicom_port: int, http_port: int) -> dict[str, Any]:
    """Return a configuration for an Orthanc on the loopback alone."""
    return {
        "Name": "demo", "StorageDirectory": str(storage), "IndexDirectory": str(storage),
        "DicomAet": "TESTPACS", "DicomPort": dicom_port, "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True, "DicomAlwaysAllowStore": True,
        "HttpPort": http_port, "HttpServerEnabled": True, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "Plugins": [], "OverwriteInstances": False,
        "HttpBindAddresses": ["127.0.0.1"], "LoggingLevel": "default",
    }  # fmt: skip


@dataclass
class OrthancPacs:
    """A real Orthanc, where Debian's package is installed."""

    http_port: int
    port: int
    name: str = "Orthanc"

    def fetch(self, folder: Path) -> list[Path]:
        """Write each object that Orthanc holds as a file; return the files."""
        files = []
        for identifier in json.loads(self._get("/instances")):
            file = folder / f"{identifier}.dcm"
            file.write_bytes(self._get(f"/instances/{identifier}/file"))
            files.append(file)
        return files

    def alive(self) -> bool:
        """Tell whether it answers."""
        try:
            self._get("/system")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> bytes:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bytes(answer.read())


@dataclass
class SmallPacs:
    """A storage SCP of the demo's own, where no Orthanc is installed."""

    folder: Path
    port: int = 0
    name: str = "a small storage SCP (install orthanc for a real PACS)"

    def start(self) -> None:
        """Listen on a free port of the loopback."""
        entity = AE(ae_title="TESTPACS")
        for sop_class in (COMPREHENSIVE_SR, SECONDARY_CAPTURE):
            entity.add_supported_context(sop_class, list(UNCOMPRESSED))
        handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, self._keep)]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        assert server is not None
        self.port = int(server.server_address[1])

    def _keep(self, event: evt.Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        (self.folder / f"{uid}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    def fetch(self, folder: Path) -> list[Path]:
        """Write each object that was stored as a file; return the files."""
        return [Path(shutil.copy(file, folder)) for file in sorted(self.folder.iterdir())]


@contextmanager
def _pacs(folder: Path) -> Iterator[Pacs]:
    storage = folder / "pacs-storage"
    storage.mkdir()
    if shutil.which("Orthanc") is None:
        small = SmallPacs(storage)
        small.start()
        yield small
        return
    pacs = OrthancPacs(_free_port(), _free_port())
    settings = folder / "orthanc.json"
    settings.write_text(json.dumps(orthanc_settings(storage, pacs.port, pacs.http_port), indent=1))
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(settings)], stdout=log, stderr=log)
    try:
        _wait(pacs.alive, "Orthanc")
        yield pacs
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(condition: Any, what: str, seconds: float = WAIT_S) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise DaemonError(f"{what}: no answer within {seconds:.0f} s")
        time.sleep(0.02)
    return value


@dataclass
class _Service:
    """The real service, as a process of its own, known by its log."""

    config: Path
    log_file: Path
    port: int = 0
    ready: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "serve", "--config", str(self.config)],
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        try:
            _wait(lambda: self.ready.is_set() and self.port, f"hilum serve (see {self.log_file})")
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
            reader.join(5)

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with self.log_file.open("wb") as copy:
            for line in process.stderr:
                copy.write(line)
                copy.flush()
                record = json.loads(line) if line.startswith(b"{") else {}
                if record.get("event") == "listener.listening":
                    self.port = int(record["port"])
                elif record.get("event") == "worker.ready":
                    self.ready.set()


@dataclass
class Row:
    """One object that was sent, and what became of it."""

    sent: SimulatedObject
    outcome: SendOutcome
    answered_at: float
    study: StudyRow | None = None
    stored_at: float | None = None
    repeated: bool = False
    held: int = 0

    @property
    def status(self) -> ResultStatus | None:
        """Whether the image was analysed; None without any answer."""
        if self.study is None or not self.study.instances:
            return None
        return self.study.instances[0].result.status

    @property
    def wait_ms(self) -> float | None:
        """From the acknowledgement to the report in the PACS, in milliseconds."""
        if self.stored_at is None:
            return None
        return max(0.0, self.stored_at - self.answered_at) * 1000


def run(folder: Path, console: Console) -> int:
    """Run the demo in the folder; return 0 only if nothing that was acknowledged is lost."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pacs").mkdir(parents=True)
    _config.LOG_HANDLER_LEVEL = "none"
    objects = demo_objects(RADIOGRAPHS, Path(str(get_testdata_file("CT_small.dcm"))))
    with ExitStack() as stack:
        pacs = stack.enter_context(_pacs(folder))
        console.print(f"PACS: {pacs.name}")
        service = _Service(_write_config(folder, pacs.port), folder / "service.log")
        stack.enter_context(service.running())
        rows = _send_all(objects, service.port, folder, console)
        files = pacs.fetch(folder / "pacs")
    _count_held(rows, files)
    _write_one_report(rows, files, folder / "report.txt")
    console.print(_table(rows))
    console.print(
        f"The PACS holds {len(files)} objects, now under {folder / 'pacs'};"
        f" one report as text: {folder / 'report.txt'}; the service's log: {service.log_file}"
    )
    console.print("Decision support only: not a medical device.")
    line, lost = _summary(rows)
    print(line)
    return 1 if lost else 0


def _write_config(folder: Path, pacs_port: int) -> Path:
    config = folder / "hilum.toml"
    config.write_text(
        f"""[dicom]
bind = "127.0.0.1"
port = 0

[storage]
root = "{folder.resolve() / "root"}"
reserve_bytes = 100_000_000

[report]
study_quiet_s = 0  # each demo study is one image: report it at once

[[pacs]]
name = "demo"
ae_title = "TESTPACS"
host = "127.0.0.1"
port = {pacs_port}
"""
    )
    return config


def _send_all(
    objects: list[SimulatedObject], port: int, folder: Path, console: Console
) -> list[Row]:
    """Send the objects one after another, as a department does, and wait for each report."""
    database = open_database(f"sqlite:///{folder.resolve() / 'root' / 'hilum.sqlite'}")
    outbox, studies = Outbox(database), Studies(database)
    rows: list[Row] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("sending", total=len(objects))
        for one in objects:
            outcome = send([one.dataset], "127.0.0.1", port, "DEMO_CR", "HILUM")[0]
            row = Row(one, outcome, time.time())
            row.repeated = any(one.sop_instance_uid == r.sent.sop_instance_uid for r in rows)
            rows.append(row)
            if outcome.status == 0x0000:
                row.stored_at = _await_report(outbox, one.study_instance_uid)
                row.study = studies.show(one.study_instance_uid) if row.stored_at else None
            progress.advance(task)
    database.close()
    return rows


def _await_report(outbox: Outbox, study_uid: str) -> float | None:
    def stored() -> float | None:
        for row in outbox.rows([DeliveryState.STORED], 100):
            if row.study_instance_uid == study_uid:
                return row.stored_at
        return None

    try:
        return float(_wait(stored, "a report"))
    except DaemonError:
        return None


def _count_held(rows: list[Row], files: list[Path]) -> None:
    held = [str(dcmread(file, stop_before_pixels=True).StudyInstanceUID) for file in files]
    for row in rows:
        row.held = held.count(row.sent.study_instance_uid)


def _write_one_report(rows: list[Row], files: list[Path], target: Path) -> None:
    analysed = [row for row in rows if row.status is ResultStatus.ANALYSED]
    flagged = [row for row in analysed if _present(row)] or analysed
    for file in files:
        dataset = dcmread(file)
        if flagged and dataset.StudyInstanceUID == flagged[0].sent.study_instance_uid:
            if dataset.Modality == "SR":
                target.write_text(render_text(dataset))
            return


def _present(row: Row) -> list[str]:
    assert row.study is not None
    return [f.name for f in row.study.instances[0].result.findings if f.present]


def _table(rows: list[Row]) -> Table:
    table = Table(title="What Hilum said of the demo radiographs")
    for name in ("study", "sent as", "published label", "Hilum's probabilities", "flagged"):
        table.add_column(name, overflow="fold")
    table.add_column("acknowledged to report", justify="right")
    table.add_column("PACS holds", justify="right")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> tuple[str, ...]:
    wait = "-" if row.wait_ms is None or row.repeated else f"{row.wait_ms:.0f} ms"
    said, flagged = "nothing", "-"
    if row.outcome.status != 0x0000:
        said = f"not acknowledged: {row.outcome.status}"
    elif row.repeated:
        said = "the same object again: acknowledged, nothing done"
    elif row.study and row.status is ResultStatus.ANALYSED:
        findings = row.study.instances[0].result.findings
        said = ", ".join(f"{_words(f.name)} {f.probability:.2f}" for f in findings)
        flagged = ", ".join(_words(name) for name in _present(row)) or "no"
    elif row.study and row.status is ResultStatus.NOT_ANALYSED:
        said = f"not analysed: {row.study.instances[0].result.reason}"
    return (row.sent.name, row.sent.form, row.sent.label, said, flagged, wait, f"{row.held} SR")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _summary(rows: list[Row]) -> tuple[str, int]:
    acknowledged = [row for row in rows if row.outcome.status == 0x0000]
    repeated = [row for row in acknowledged if row.repeated]
    answered = [row for row in acknowledged if not row.repeated and row.held]
    reported = [row for row in answered if row.status is ResultStatus.ANALYSED]
    refused = [row for row in answered if row.status is ResultStatus.NOT_ANALYSED]
    lost = len(acknowledged) - len(repeated) - len(reported) - len(refused)
    waits = [row.wait_ms for row in reported if row.wait_ms is not None]
    median = statistics.median(waits) if waits else 0.0
    line = (
        f"demo: sent {len(rows)}, acknowledged {len(acknowledged)}, reported {len(reported)},"
        f" refused {len(refused)}, repeated {len(repeated)}, lost {lost},"
        f" median {median:.0f} ms"
    )
    return line, lost + (len(rows) - len(acknowledged))
