"""`hilum acceptance`: a blinded sample, how far it is read, and the report of it."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.console import Config, Json, actor, opened
from daemon.needs import needs_training

if TYPE_CHECKING:
    from storage.acceptance_records import AcceptanceTest

app = typer.Typer(
    help="A blinded test of what serves, on your own studies: draw, read, close, report.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The test's name.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day, as 2026-03-01.")]
DAYS = 90


@app.command()
def draw(
    name: Name,
    config: Config,
    reader: Annotated[list[str], typer.Option(help="A radiologist's login; repeatable.")],
    half_width: Annotated[
        float, typer.Option(help="What the intervals have to each side at most.")
    ] = 0.1,
    finding: Annotated[
        str, typer.Option(help='What the sample is sized by: a finding, or "any".')
    ] = "any",
    sensitivity: Annotated[float, typer.Option(help="Expected.")] = 0.8,
    specificity: Annotated[float, typer.Option(help="Expected.")] = 0.8,
    prevalence: Annotated[
        float | None, typer.Option(help="Expected; without it, as the share flagged suggests.")
    ] = None,
    since: Day = None,
    until: Day = None,
    seed: Annotated[str, typer.Option(help="To draw the same again.")] = "",
    by: Annotated[str, typer.Option(hidden=True)] = "",
    as_json: Json = False,
) -> None:
    """Draw a sample of studies that the serving bundle has classified and no reader has seen."""
    needs_training()
    from daemon.acceptance import Wanted, draw

    now = time.time()
    first = (datetime.now() - timedelta(days=DAYS)) if since is None else since
    last = now if until is None else (until + timedelta(days=1)).timestamp()
    wanted = Wanted(
        name, finding, half_width, sensitivity, specificity, prevalence, first.timestamp(), last,
        seed,
    )  # fmt: skip
    with opened(config) as (_, database):
        made = draw(database, wanted, reader, by or actor(), now)
    _say(
        shown(made), f"{made.cases} studies are drawn for {len(made.readers)} readers; seed "
        f"{made.plan.seed}", as_json=as_json,
    )  # fmt: skip


@app.command()
def show(
    config: Config,
    name: Annotated[str | None, typer.Argument(help="The test's name; all without.")] = None,
    as_json: Json = False,
) -> None:
    """Show the tests and how far each reader is; results are shown by the report alone."""
    from storage.acceptance import Acceptances

    with opened(config) as (_, database):
        tests = Acceptances(database)
        found = tests.all() if name is None else [tests.find(name)]
    if as_json:
        typer.echo(json.dumps([shown(one) for one in found], indent=1))
        return
    for one in found:
        read = ", ".join(f"{r.login} {one.read.get(r.account, 0)}" for r in one.readers)
        typer.echo(f"{one.plan.name}: {one.state}, {one.cases} studies, read: {read}")
    if not found:
        typer.echo("There is no acceptance test.")


@app.command()
def close(
    name: Name,
    config: Config,
    incomplete: Annotated[
        bool, typer.Option("--incomplete", help="Though reads are left; needs a reason.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why; the report states it.")] = "",
    by: Annotated[str, typer.Option(hidden=True)] = "",
    as_json: Json = False,
) -> None:
    """End the reading for good, and make the report."""
    needs_training()
    from daemon.acceptance import make_report
    from storage.acceptance import Acceptances

    who = by or actor()
    with opened(config) as (_, database):
        tests = Acceptances(database)
        test = tests.close(tests.find(name).id, who, reason, time.time(), incomplete=incomplete)
        make_report(database, test, who, time.time())
        test = tests.show(test.id)
    _say(shown(test), f"{name} is closed; `hilum acceptance report` writes it", as_json=as_json)


@app.command()
def report(
    name: Name,
    config: Config,
    out: Annotated[Path, typer.Option(help="Folder for report.html and report.json.")] = Path(),
    by: Annotated[str, typer.Option(hidden=True)] = "",
    as_json: Json = False,
) -> None:
    """Write the report of a closed test: one HTML file to print and sign, and the same as JSON."""
    needs_training()
    from daemon.acceptance import make_report
    from daemon.errors import DaemonError
    from storage.acceptance import Acceptances

    with opened(config) as (_, database):
        made = make_report(database, Acceptances(database).find(name), by or actor(), time.time())
    files = {"report.html": made.page, "report.json": made.figures}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (out / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise DaemonError(f"{out} cannot be written: {error.strerror}.") from error
    typer.echo(made.figures if as_json else f"report.html and report.json are in {out}")


def shown(test: AcceptanceTest) -> dict[str, Any]:
    """Return a test as JSON: nothing of it is a result."""
    return {
        "name": test.plan.name, "state": test.state, "cases": test.cases,
        "plan": asdict(test.plan), "drawn_at": test.drawn_at, "drawn_by": test.actor,
        "readers": [
            {"login": one.login, "read": test.read.get(one.account, 0)} for one in test.readers
        ],
        "closed_at": None if test.closing is None else test.closing.at,
        "reported_at": test.reported_at,
    }  # fmt: skip


def _say(told: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(told, indent=1) if as_json else sentence)
