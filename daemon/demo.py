"""`hilum demo`: real radiographs through the real service into a PACS, and what came of them."""

from __future__ import annotations

import shutil
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pynetdicom import _config
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from daemon.demo_peers import Service, pacs, wait
from daemon.errors import DaemonError
from daemon.report import render_text
from daemon.simulate import SendOutcome, SimulatedObject, demo_objects, send
from storage.database import open_database
from storage.outbox import Outbox
from storage.records import DeliveryState, Finding, ResultStatus, StudyRow
from storage.studies import Studies

RADIOGRAPHS = Path(__file__).parents[1] / "deploy" / "demo"
WIDTH = 156  # columns that the table needs


@dataclass
class Row:
    """One object that was sent, and what became of it."""

    sent: SimulatedObject
    outcome: SendOutcome
    answered_at: float
    study: StudyRow | None = None
    stored_at: float | None = None
    repeated: bool = False
    held: int = 0  # reports of its study in the PACS
    maps: int = 0  # heat maps of it

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
        archive = stack.enter_context(pacs(folder))
        console.print(f"PACS: {archive.name}")
        service = Service(write_config(folder, archive.dicom_port), folder / "service.log")
        stack.enter_context(service.running())
        rows = _send_all(objects, service.port, folder)
        files = archive.fetch(folder / "pacs")
    _count_held(rows, files)
    _write_one_report(rows, files, folder / "report.txt")
    console.print(_table(rows))
    for remark in _remarks(rows):
        console.print(remark, highlight=False)
    console.print(
        f"The PACS holds {sum(row.held for row in rows if not row.repeated)} reports (SR) and"
        f" {sum(row.maps for row in rows if not row.repeated)} heat maps, now under"
        f" {folder / 'pacs'};"
        f" one report as text: {folder / 'report.txt'}; the service's log: {service.log_file}"
    )
    console.print(
        "These images are part of what the default model was trained on: they show the way, not the"
        " accuracy; the README has figures on patients that it never saw.\n"
        "Decision support only: not a medical device."
    )
    line, lost = _summary(rows)
    print(line)
    return 1 if lost else 0


def write_config(folder: Path, pacs_port: int) -> Path:
    """Write the settings of the demo's service."""
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

[web]
port = 0

[[pacs]]
name = "demo"
ae_title = "TESTPACS"
host = "127.0.0.1"
port = {pacs_port}
"""
    )
    return config


def _send_all(objects: list[SimulatedObject], port: int, folder: Path) -> list[Row]:
    """Send the objects one after another, as a department does, and wait for each report."""
    database = open_database(f"sqlite:///{folder.resolve() / 'root' / 'hilum.sqlite'}")
    outbox, studies = Outbox(database), Studies(database)
    rows: list[Row] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
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
            if row.study_instance_uid == study_uid and not row.companion:
                return row.stored_at
        return None

    try:
        return float(wait(stored, "a report"))
    except DaemonError:
        return None


def _count_held(rows: list[Row], files: list[Path]) -> None:
    headers = [dcmread(file, stop_before_pixels=True) for file in files]
    held = [(str(one.StudyInstanceUID), one.Modality == "SR") for one in headers]
    for row in rows:
        row.held = held.count((row.sent.study_instance_uid, True))
        row.maps = held.count((row.sent.study_instance_uid, False))


def _write_one_report(rows: list[Row], files: list[Path], target: Path) -> None:
    analysed = [row for row in rows if row.status is ResultStatus.ANALYSED]
    flagged = [row for row in analysed if _present(row)] or analysed
    for file in files:
        dataset = dcmread(file)
        wanted = flagged and dataset.StudyInstanceUID == flagged[0].sent.study_instance_uid
        if wanted and dataset.Modality == "SR":
            target.write_text(render_text(dataset))
            return


def _present(row: Row) -> list[str]:
    return [finding.name for finding in _findings(row) if finding.present]


def _table(rows: list[Row]) -> Table:
    findings = next((_findings(row) for row in rows if _findings(row)), ())
    table = Table(
        title="What Hilum said of the demo radiographs: probability, * where flagged",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("radiograph", no_wrap=True)
    table.add_column("published label", width=13)
    table.add_column("sent as", width=28, overflow="fold")
    for finding in findings:
        words = _words(finding.name)
        table.add_column(words, justify="right", min_width=max(map(len, words.split())))
    table.add_column("to report", justify="right", width=9)
    table.add_column("SR in PACS", justify="right", width=4)
    table.add_column("heat maps", justify="right", width=4)
    for row in rows:
        wait_ms = "-" if row.wait_ms is None or row.repeated else f"{row.wait_ms:.0f} ms"
        numbers = [_probability(finding) for finding in _findings(row)] or ["-"] * len(findings)
        table.add_row(
            row.sent.name,
            row.sent.label,
            row.sent.form,
            *numbers,
            wait_ms,
            str(row.held),
            str(row.maps),
        )
    return table


def _findings(row: Row) -> tuple[Finding, ...]:
    if row.study is None or row.repeated:
        return ()
    return row.study.instances[0].result.findings


def _probability(finding: Finding) -> str:
    number = f"{finding.probability:.2f}"
    return f"[bold red]{number}*[/bold red]" if finding.present else f"{number} "


def _remarks(rows: list[Row]) -> list[str]:
    """Say what the numbers of the table cannot."""
    said = []
    for row in rows:
        what = f"{row.sent.name} ({row.sent.form})"
        if row.outcome.status != 0x0000:
            said.append(f"{what}: not acknowledged, status {row.outcome.status}")
        elif row.repeated:
            said.append(f"{what}: acknowledged, and nothing done")
        elif row.study is None:
            said.append(f"{what}: LOST, no report within the time")
        elif row.status is ResultStatus.NOT_ANALYSED:
            said.append(f"{what}: not analysed. {row.study.instances[0].result.reason}")
    return said


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
