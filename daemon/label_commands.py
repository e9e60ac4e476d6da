"""`hilum labels` and `hilum holdout`: what reports say of studies, and who is never learnt from."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from daemon.console import Config, Json, actor, opened

labels = typer.Typer(help="Labels from radiologists' reports.", no_args_is_help=True)
holdout = typer.Typer(help="The patients whom no bundle learns from.", no_args_is_help=True)


@labels.command("import")
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with the columns accession_number, finding, present; FHIR R4 as JSON; or "
            "HL7 v2 ORU^R01 messages."
        ),
    ],
    config: Config,
    codes: Annotated[
        Path | None, typer.Option(help="What codes mean (TOML), beside those of our own reports.")
    ] = None,
    accession: Annotated[
        str,
        typer.Option(
            help="Where the accession number stands: OBR-18 (default), OBR-2, OBR-3, OBR-19, ORC-2 "
            "or ORC-3; in FHIR the system of an identifier, by default that of the type ACSN."
        ),
    ] = "",
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Let codes without a meaning be.")
    ] = False,
    known_only: Annotated[
        bool, typer.Option("--known-only", help="Leave out accession numbers of no study.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import what reports say, whole or not at all; unknown accession numbers are listed."""
    from daemon.report_labels import read_labels
    from storage.labelled import Labelled

    with opened(config) as (_, database):
        lines = read_labels(file, database, codes, accession, skip_unknown=skip_unknown)
        done = Labelled(database).import_reports(lines, actor(), time.time(), known_only=known_only)
    sentence = f"{done.labels} labels of {done.studies} studies are imported"
    if done.changed:
        sentence += f"; {done.changed} had been said otherwise by an import before"
    if done.left_out:
        sentence += f"; left out, as they name no one study: {', '.join(done.left_out)}"
    typer.echo(json.dumps(asdict(done)) if as_json else sentence)


@holdout.command()
def show(config: Config, as_json: Json = False) -> None:
    """Show how many patients are held out."""
    from storage.holdout import Holdouts

    with opened(config) as (_, database):
        found = Holdouts(database).show()
    if as_json:
        typer.echo(json.dumps(None if found is None else asdict(found), indent=1))
    elif found is None:
        typer.echo("Nobody is held out yet: patients are drawn at their first label.")
    else:
        typer.echo(
            f"{found.held_out} patients are held out, {found.trained} may have been learnt from, "
            f"{found.free} neither; drawn by {found.actor}: {found.reason}"
        )


@holdout.command()
def refresh(
    by: Annotated[str, typer.Option("--by", help="Who decided it, by name.")],
    reason: Annotated[str, typer.Option(help="Why; the draw and the audit trail keep it.")],
    config: Config,
    share: Annotated[float, typer.Option(help="Part of the patients that is held out.")] = 0.3,
    as_json: Json = False,
) -> None:
    """Draw the hold-out anew, among the patients whom no bundle has learnt from."""
    from daemon.errors import DaemonError
    from storage.holdout import Holdouts

    if not by.strip():
        raise DaemonError("--by names the administrator who decided it.")
    with opened(config) as (_, database):
        found = Holdouts(database).refresh(
            f"{actor()} for {by.strip()[:64]}", reason, time.time(), share
        )
    sentence = f"{found.held_out} patients are held out, {found.free} are free to be learnt from"
    typer.echo(json.dumps(asdict(found), indent=1) if as_json else sentence)
