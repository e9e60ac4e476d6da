"""`hilum tls`: certificates for a site without an authority of its own."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from daemon.errors import CannotIssue
from daemon.settings import AeTitle

app = typer.Typer(
    help="Make and show certificates for DICOM TLS.", no_args_is_help=True, add_completion=False
)

Authority = Annotated[Path, typer.Option("--ca", help="Folder of the authority.")]
Days = Annotated[int, typer.Option(min=1, max=7300, help="Days that it is valid.")]


@app.command("make-ca")
def make_ca(
    folder: Annotated[Path, typer.Argument(help="Folder for the authority: ca.pem and ca.key.")],
    name: Annotated[str, typer.Option(help="Its name.", metavar="NAME")] = "Hilum site authority",
    days: Days = 3650,
) -> None:
    """Make an authority. Keep its key off the network: who has it can be any modality."""
    from daemon import authority

    if not 1 <= len(name) <= 64:
        raise CannotIssue("an authority's name has 1 to 64 characters")
    certificate, key = authority.make_authority(folder, name, days, _now())
    typer.echo(f"{certificate}  for every peer that is to trust it")
    typer.echo(f"{key}  secret: keep it apart from this machine")


@app.command()
def issue(
    ae_title: Annotated[str, typer.Argument(help="Whose certificate it is, by AE title.")],
    ca: Authority,
    host: Annotated[
        list[str] | None,
        typer.Option(help="Host name or address of it, as peers reach it; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the certificate and the key.")] = Path(),
    days: Days = 397,
) -> None:
    """Issue a certificate and a key to an AE title: ours, a modality's or the PACS's."""
    from daemon import authority

    try:
        title = TypeAdapter(AeTitle).validate_python(ae_title)
    except ValidationError as error:
        raise CannotIssue(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    certificate, key = authority.issue(ca, out, title, host or [], days, _now())
    typer.echo(f"{certificate}  the certificate of {title}")
    typer.echo(f"{key}  its key, secret")


@app.command()
def show(
    certificate: Annotated[Path, typer.Argument(help="A PEM file.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, for a program to read.")
    ] = False,
) -> None:
    """Show whose a certificate is, its names, until when it is valid, and its fingerprint."""
    from daemon import authority

    found = authority.show(certificate)
    rows = {
        "subject": found.subject,
        "names": ", ".join(found.names) or "none",
        "issuer": found.issuer,
        "valid from": f"{found.not_before:%Y-%m-%d %H:%M} UTC",
        "valid until": f"{found.not_after:%Y-%m-%d %H:%M} UTC",
        "days left": f"{found.days_left(_now()):.0f}",
        "fingerprint": found.fingerprint,
    }
    if as_json:
        typer.echo(json.dumps(rows | {"names": found.names}, indent=1))
        return
    for key, value in rows.items():
        typer.echo(f"{key + ':':<13}{value}")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
