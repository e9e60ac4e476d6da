"""`hilum queue`: what waits, what was given up, what was sent."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.table import Table

from daemon.console import Config, Json, actor
from daemon.settings import load
from storage.people import Action
from storage.records import DeliveryId, DeliveryRow, JobId, JobState, StudyId

app = typer.Typer(help="The queue, the quarantine and the outbox.", no_args_is_help=True)

Job = Annotated[int, typer.Argument(help="Number of the job, as `hilum queue list` prints it.")]


class Opened:
    """The storage of a service, whether it runs or not."""

    def __init__(self, config: Path) -> None:
        # Slow to import, and every command line imports this module
        from storage.audit import Audit
        from storage.database import open_database
        from storage.outbox import Outbox
        from storage.queue import Queue
        from storage.studies import Studies

        self._database = open_database(load(config).storage.url)
        self._audit = Audit(self._database)
        self.queue, self.outbox = Queue(self._database), Outbox(self._database)
        self.studies = Studies(self._database)

    @contextmanager
    def act(self, action: Action, number: int, reason: str = "") -> Iterator[float]:
        """Write an act into the audit trail by the commit of its block; give the time."""
        now, detail = time.time(), {"reason": reason} if reason else {}
        with self._database.write():
            yield now
            self._audit.append(actor(), action, str(number), detail, at=now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()


@app.command("list")
def list_(
    config: Config,
    state: Annotated[list[JobState] | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many lines.")] = 200,
    as_json: Json = False,
) -> None:
    """List the jobs and the deliveries, newest first."""
    with Opened(config) as storage:
        jobs = storage.queue.rows(state, limit)
        deliveries = storage.outbox.rows(None, limit)
    if as_json:
        shown = {
            "jobs": [asdict(row) for row in jobs],
            "deliveries": [asdict(d) for d in deliveries],
        }
        typer.echo(json.dumps(shown, indent=1))
        return
    drawn = Table(
        "job", "state", "tries", "SOP instance", "from", "received", "reason", title="Jobs"
    )
    for job in jobs:
        drawn.add_row(
            str(job.id), job.state, str(job.attempts), job.sop_instance_uid,
            f"{job.calling_ae}@{job.peer_address}", _when(job.received_at), job.reason or "",
        )  # fmt: skip
    sent = Table(
        "delivery", "PACS", "state", "tries", "what", "object", "version", "answer",
        title="Reports and heat maps",
    )  # fmt: skip
    for delivery in deliveries:
        sent.add_row(
            str(delivery.id), delivery.pacs, delivery.state, str(delivery.attempts),
            _what(delivery), (delivery.sent or delivery).sop_instance_uid, str(delivery.version),
            " ".join(filter(None, (delivery.last_status, delivery.last_error))),
        )  # fmt: skip
    console = Console()
    console.print(drawn)
    console.print(sent)


@app.command()
def show(job: Job, config: Config) -> None:
    """Show all that is known of one job, as JSON."""
    with Opened(config) as storage:
        typer.echo(json.dumps(storage.queue.show(JobId(job)), indent=1, default=str))


@app.command()
def retry(
    number: Job,
    config: Config,
    delivery: Annotated[bool, typer.Option("--delivery", help="NUMBER is a delivery's.")] = False,
    study: Annotated[bool, typer.Option("--study", help="NUMBER is a study's.")] = False,
) -> None:
    """Try again what was given up: a job, or a delivery."""
    with Opened(config) as storage:
        if delivery:
            with storage.act(Action.DELIVERY_RETRIED, number) as now:
                storage.outbox.retry_by_hand(DeliveryId(number), now)
        elif study:
            with storage.act(Action.STUDY_RETRIED, number) as now:
                storage.studies.retry_by_hand(StudyId(number), now)
        else:
            with storage.act(Action.JOB_RETRIED, number) as now:
                storage.queue.retry_by_hand(JobId(number), now)
    typer.echo(f"{number} will be tried again")


@app.command()
def quarantine(
    job: Job,
    config: Config,
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at it next.")],
) -> None:
    """Take a waiting job out of the queue."""
    with Opened(config) as storage, storage.act(Action.JOB_QUARANTINED, job, reason) as now:
        storage.queue.quarantine_by_hand(JobId(job), reason, now)
    typer.echo(f"{job} is in quarantine")


def _what(delivery: DeliveryRow) -> str:
    """What was sent, by the name of its SOP class: a report may have stepped down."""
    from daemon.contexts import NAMES  # slow to import

    sop_class = (delivery.sent or delivery).sop_class_uid
    return f"{'heat map' if delivery.companion else 'report'}: {NAMES.get(sop_class, sop_class)}"


def _when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))
