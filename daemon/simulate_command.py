"""`hilum simulate`: image files as the objects of a modality, sent over TCP or written to files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import Progress

from daemon.errors import DaemonError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from daemon.simulate import Patient

# The names of daemon.simulate's enumerations, which a test compares: that package takes a second to
# import, and every command of `hilum` imports this module.
KindName = Literal["CR", "DX", "SC"]
ModalityName = Literal["none", "rescale", "lut"]
VoiName = Literal["none", "LINEAR", "LINEAR_EXACT", "SIGMOID", "lut"]
DamageName = Literal["none", "garbled", "truncated"]


def simulate(
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG files, or folders of them.")],
    host: Annotated[str, typer.Option(help="Where to send to.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="TCP port.")] = 11112,
    called: Annotated[str, typer.Option(help="Called AE title.")] = "HILUM",
    calling: Annotated[str, typer.Option(help="Calling AE title.")] = "SIMULATOR",
    kind: Annotated[KindName, typer.Option(help="Which kind of object.")] = "DX",
    bits: Annotated[int, typer.Option(min=8, max=16, help="Bits stored.")] = 12,
    monochrome1: Annotated[bool, typer.Option("--monochrome1", help="White is 0.")] = False,
    modality: Annotated[ModalityName, typer.Option(help="Modality LUT.")] = "none",
    voi: Annotated[VoiName, typer.Option(help="Window or VOI LUT.")] = "LINEAR",
    syntax: Annotated[str, typer.Option(help="Transfer syntax UID.")] = "1.2.840.10008.1.2.1",
    view: Annotated[str, typer.Option(help="View position: PA, AP, LL, RL or empty.")] = "PA",
    body_part: Annotated[str, typer.Option(help="Body part examined.")] = "CHEST",
    damage: Annotated[DamageName, typer.Option(help="Spoil the pixels.")] = "none",
    out: Annotated[
        Path | None, typer.Option(help="Write the objects into this folder and send nothing.")
    ] = None,
) -> None:
    """Act as a modality: turn image files into CR, DX or SC objects and send them.

    The patients are synthetic, and each image is a study of its own.
    """
    from pydicom.uid import UID

    from daemon import simulate as simulator

    if syntax not in simulator.transfer_syntaxes():
        allowed = ", ".join(simulator.transfer_syntaxes())
        raise DaemonError(f"{syntax} cannot be written; possible are {allowed}")
    form = simulator.Form(
        simulator.Kind(kind), bits, monochrome1, simulator.Modality(modality), simulator.Voi(voi),
        UID(syntax), view, body_part, simulator.Damage(damage),
    )  # fmt: skip
    objects = [
        simulator.make_object(file, form, _patient(number))
        for number, file in enumerate(_files(images), 1)
    ]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for one in objects:
            (out / f"{one.SOPInstanceUID}.dcm").write_bytes(simulator.to_bytes(one))
        typer.echo(f"{len(objects)} objects in {out}")
        return
    _send(objects, host, port, calling, called)


def _send(objects: list[Dataset], host: str, port: int, calling: str, called: str) -> None:
    from daemon.simulate import send

    with Progress(transient=True) as progress:
        task = progress.add_task("sending", total=len(objects))
        outcomes = send(
            objects, host, port, calling, called, progress=lambda _: progress.advance(task)
        )
    statuses = Counter(outcome.status for outcome in outcomes)
    told = ", ".join(
        f"{count} x {'no answer' if status is None else f'{status:04X}H'}"
        for status, count in statuses.items()
    )
    typer.echo(f"sent {len(outcomes)}: {told}")
    if set(statuses) != {0x0000}:
        raise typer.Exit(1)


def _files(images: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in images:
        if path.is_dir():
            files += sorted(
                file for file in path.iterdir() if file.suffix.lower() in {".png", ".jpg", ".jpeg"}
            )
        elif path.is_file():
            files.append(path)
        else:
            raise DaemonError(f"{path}: there is no such file or folder")
    if not files:
        raise DaemonError("there is no PNG or JPEG file in what was named")
    return files


def _patient(number: int) -> Patient:
    from daemon.simulate import Patient

    return Patient(
        name=f"Simulated^Patient {number}", id=f"SIM-{number:06}",
        accession=f"SIM-A{number}", study_id=f"SIM-S{number}",
    )  # fmt: skip
