"""`hilum audit`: the trail, the check of its chain, its export, and the replay of a result."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from daemon.console import Config, Json, actor, opened
from daemon.errors import DaemonError
from daemon.settings import Settings

if TYPE_CHECKING:
    from daemon.audit.replay import Replayed
    from storage.audit import Audit, AuditRow
    from storage.database import Database

app = typer.Typer(
    help="The audit trail: who did what, and what was found by which bundle.", no_args_is_help=True
)

PAGE = 500


@app.command()
def verify(config: Config, as_json: Json = False) -> None:
    """Check the whole chain, and that no row is missing at its end. Exit 1 where it is broken."""
    from storage.audit import Audit
    from storage.audit_marks import Marks

    with opened(config) as (_, database):
        found = Audit(database).verify(Marks(database).hashes())
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    elif found.broken is None:
        typer.echo(f"all {found.rows} rows are as they were written; the head is {found.head}")
    else:
        typer.echo(
            f"row {found.broken} is not what was written, or is missing; "
            f"the {found.rows} rows before it are sound"
        )
    raise typer.Exit(0 if found.broken is None else 1)


@app.command("list")
def list_(
    config: Config,
    since: Annotated[str | None, typer.Option(help="First day, as 2026-01-31.")] = None,
    until: Annotated[str | None, typer.Option(help="Last day.")] = None,
    who: Annotated[str | None, typer.Option(help="Only what this login or sender did.")] = None,
    action: Annotated[str | None, typer.Option(help="Only this, as study.read.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only to this UID or key.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many lines.")] = 100,
    as_json: Json = False,
) -> None:
    """List rows, newest first."""
    from storage.audit import Audit, AuditQuery

    last = _day(until)
    query = AuditQuery(_day(since), None if last is None else last + 86400.0, who, action, subject)
    with opened(config) as (_, database):
        audit = Audit(database)
        rows = audit.search(query, limit)
        _note(audit, "list")
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1))
        return
    drawn = Table("row", "time", "who", "did", "to what", "detail")
    for row in rows:
        detail = ", ".join(f"{name} {value}" for name, value in row.detail.items())
        shown = (row.actor, row.action, row.subject, detail)
        drawn.add_row(str(row.id), _when(row.at), *map(escape, shown))
    Console().print(drawn)


@app.command()
def show(
    number: Annotated[int, typer.Argument(help="Number of the row, as `hilum audit list` has it.")],
    config: Config,
) -> None:
    """Show a row, as JSON."""
    from storage.audit import Audit

    with opened(config) as (_, database):
        audit = Audit(database)
        found = audit.after(number - 1, 1)
        if not found or found[0].id != number:
            raise DaemonError(f"the audit trail has no row {number}")
        _note(audit, "show")
    typer.echo(json.dumps(asdict(found[0]), indent=1))


@app.command()
def export(
    config: Config,
    out: Annotated[Path | None, typer.Option(help="File; without one, standard output.")] = None,
    form: Annotated[
        Literal["dicom", "json"],
        typer.Option("--format", help="DICOM audit messages (XML), or rows; one to a line."),
    ] = "dicom",
    after: Annotated[int, typer.Option(min=0, help="Only rows after this one.")] = 0,
) -> None:
    """Write the trail to a file, from its first row on."""
    from storage.audit import Audit

    with opened(config) as (settings, database):
        audit, count = Audit(database), 0
        try:
            stream = sys.stdout.buffer if out is None else out.open("xb")
        except OSError as error:
            raise DaemonError(f"{out}: {error.strerror}") from error
        try:
            for line in _lines(audit, settings, database, form, after):
                stream.write(line + b"\n")
                count += 1
        finally:
            stream.flush()
            if out is not None:
                stream.close()
        _note(audit, "export")
    typer.echo(f"{count} rows", err=True)


@app.command()
def replay(
    instance: Annotated[str, typer.Argument(help="SOP Instance UID of an image.")],
    config: Config,
    row: Annotated[
        int | None, typer.Option(help="The result of this row; without one, the newest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Classify an image again as it was, and compare. Exit 1 where the numbers differ."""
    from daemon.audit.replay import replay as again

    with opened(config) as (settings, database):
        found = again(settings.storage.root, database, instance, row)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=1))
    else:
        _print(found)
    raise typer.Exit(0 if found.same else 1)


def _print(found: Replayed) -> None:
    typer.echo(f"row {found.row} of {_when(found.at)}: {found.bundle} ({found.digest[:12]})")
    typer.echo(f"then: {found.engine_then} on {found.machine_then}")
    typer.echo(f"now:  {found.engine_now} on {found.machine_now}")
    drawn = Table("finding", "then", "now", "threshold of then", "decision")
    for one in found.findings:
        drawn.add_row(
            one.finding, f"{one.then:.6f}", f"{one.now:.6f}", f"{one.threshold:.3f}",
            "the same" if one.same_decision else "another",
        )  # fmt: skip
    if found.findings:
        Console().print(drawn)
    if found.reason_then or found.reason_now:
        typer.echo(f"reason then: {found.reason_then}; now: {found.reason_now}")
    near = f"within {found.tolerance} (another engine or machine)"
    how = "to the last bit" if found.exact else near
    typer.echo(f"the same, {how}" if found.same else f"not the same {how}")


def _lines(
    audit: Audit, settings: Settings, database: Database, form: str, after: int
) -> Iterator[bytes]:
    from daemon.audit.messages import Messages
    from daemon.audit.sender import patients
    from daemon.audit.syslog import own_name

    messages = Messages(settings, own_name(), patients(settings, database))
    while rows := audit.after(after, PAGE):
        for row in rows:
            yield messages.xml(row) if form == "dicom" else _json(row)
        after = rows[-1].id


def _json(row: AuditRow) -> bytes:
    return json.dumps(asdict(row)).encode()


def _note(audit: Audit, way: str) -> None:
    """A look at the trail is a row of it."""
    from storage.people import Action

    audit.append(actor(), Action.AUDIT_READ, detail={"way": way}, at=time.time())


def _day(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%d"))
    except (ValueError, OverflowError):
        raise DaemonError(f'a day is written as 2026-01-31. Received: "{text}"') from None


def _when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(timestamp))
