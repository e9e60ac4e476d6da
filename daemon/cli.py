"""The command `hilum`. Exit status: 0 success, 1 the operation failed, 2 wrong usage."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from classifier.errors import ClassifierError
from daemon import (
    acceptance_commands,
    alarm_commands,
    audit_commands,
    db_commands,
    label_commands,
    ledger_commands,
    logs,
    queue_commands,
    schedule_commands,
    shadow_commands,
    tls_commands,
    user_commands,
)
from daemon.console import Config, Json
from daemon.errors import DaemonError, SettingsError
from daemon.needs import needs_training as _needs_training
from daemon.settings import load
from daemon.simulate_command import simulate
from storage.errors import StorageError
from training.errors import TrainingError

app = typer.Typer(
    name="hilum",
    help="A DICOM service that classifies chest radiographs on a CPU and answers the PACS with "
    "Structured Reports. Decision support only; not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(queue_commands.app, name="queue")
app.add_typer(ledger_commands.app, name="model")
ledger_commands.app.add_typer(shadow_commands.app, name="shadow")
app.add_typer(user_commands.app, name="user")
app.add_typer(schedule_commands.app, name="schedule")
app.add_typer(alarm_commands.app, name="alarms")
app.add_typer(db_commands.app, name="db")
app.add_typer(label_commands.labels, name="labels")
app.add_typer(label_commands.holdout, name="holdout")
app.add_typer(audit_commands.app, name="audit")
app.add_typer(acceptance_commands.app, name="acceptance")
app.add_typer(tls_commands.app, name="tls")
app.command()(simulate)

Data = Annotated[
    Path, typer.Option("--data", help="A folder with labels.csv and the images, as the guide says.")
]
Model = Annotated[str, typer.Option("--bundle", help='Folder of a model bundle, or "default".')]


@app.command()
def serve(
    config: Config,
    roles: Annotated[
        str,
        typer.Option(help="Which of listener,worker,delivery,web,scheduler run on this host."),
    ] = "listener,worker,delivery,web,scheduler",
) -> None:
    """Run the service: listen, classify, report, deliver, until SIGTERM."""
    from daemon import process, supervisor

    settings = load(config)
    chosen = supervisor.chosen(roles, settings)
    logs.configure("supervisor")
    supervisor.serve(settings, process.Stop(), chosen)


@app.command(hidden=True)
def run(
    number: Annotated[int, typer.Argument(help="The run, as `hilum schedule runs` numbers it.")],
    config: Config,
) -> None:
    """Do one run that waits; the scheduler starts this, in a process of its own."""
    from daemon import run as runs

    settings = load(config)
    logs.configure("run")
    runs.execute(settings, number)


@app.command()
def check(config: Config, as_json: Json = False) -> None:
    """Check the configuration, the disk, the database, the model and every peer."""
    from daemon import check as checks

    findings = checks.run(load(config), config)
    if as_json:
        typer.echo(json.dumps([finding.as_dict() for finding in findings], indent=1))
    else:
        Console().print(checks.table(findings))
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo leaves its files.")] = Path(
        "build/demo"
    ),
    stay: Annotated[
        bool | None,
        typer.Option(
            help="Keep the service and its pages up until Ctrl-C; without either, on a terminal."
        ),
    ] = None,
) -> None:
    """Send real radiographs through the real service into a PACS, and show what became of them."""
    from daemon import demo as demonstration
    from daemon import demo_pages

    console = Console()
    if console.width < demonstration.WIDTH:
        console = Console(width=demonstration.WIDTH)
    status = demonstration.run(folder, console)
    said = Console(stderr=True)
    if stay or (stay is None and sys.stdin.isatty() and sys.stdout.isatty()):
        demo_pages.stay(folder, said)
    elif stay is None:
        demo_pages.hint(said)
    raise typer.Exit(status)


@app.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the new model bundle; must not exist.")],
    base_weights: Annotated[
        Path | None,
        typer.Option(help="VGG16 base (.weights.h5); without one, the serving bundle's base."),
    ] = None,
    recipe: Annotated[
        Literal["hilum-1", "benavente2022"],
        typer.Option(help="Ours, several findings at once; or the paper's, one class an image."),
    ] = "hilum-1",
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder for features and checkpoints; by default OUT.features."),
    ] = None,
    credit: Annotated[
        str | None, typer.Option(help="Whose radiographs these are, for the model card.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random choice.")] = 0,
) -> None:
    """Train a new model bundle from labelled radiographs."""
    _needs_training()
    from daemon import model_commands

    model_commands.train(data, out, recipe, base_weights, cache, credit, seed)


@app.command()
def retrain(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the new model bundle; must not exist.")],
    bundle: Model = "default",
    cache: Annotated[
        Path | None, typer.Option(help="Folder for features; by default OUT.features.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
) -> None:
    """Retrain a bundle from its own weights on local cases, beside its first training's replay."""
    _needs_training()
    from daemon import model_commands

    model_commands.retrain(data, bundle, out, cache, seed)


@app.command()
def replay(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the new model bundle; must not exist.")],
    bundle: Model = "default",
    cache: Annotated[
        Path | None, typer.Option(help="Folder for features; by default OUT.features.")
    ] = None,
) -> None:
    """Give a bundle the replay that a retraining needs, from the images it was trained on."""
    _needs_training()
    from daemon import model_commands

    model_commands.replay(data, bundle, out, cache)


@app.command()
def evaluate(
    data: Data,
    bundle: Model = "default",
    out: Annotated[
        Path | None, typer.Option(help="Folder for pictures, metrics.json and the model card.")
    ] = None,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FINDING=SHARE",
            help="Prevalence for PPV and NPV, as pneumonia=0.05; repeatable. "
            "Without one, that of the data.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a model bundle on labelled radiographs."""
    _needs_training()
    from daemon import measure_commands

    measure_commands.evaluate(data, bundle, prevalence or [], out, as_json=as_json)


@app.command()
def calibrate(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the new model bundle; must not exist.")],
    bundle: Model = "default",
    method: Annotated[
        Literal["platt", "temperature", "isotonic", "anchored", "auto"],
        typer.Option(
            help="Calibration; anchored holds to the bundle's own where cases are few; auto is "
            "isotonic where the data suffice, else platt."
        ),
    ] = "platt",
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FINDING:]TARGET",
            help="What thresholds are to reach: youden (default), sensitivity=X, specificity=X; "
            "for one finding as pneumonia:sensitivity=0.9; repeatable.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a new version of a bundle, calibrated on new labelled radiographs; same weights."""
    _needs_training()
    from daemon import measure_commands

    measure_commands.calibrate(data, bundle, out, method, target or [], as_json=as_json)


@app.command()
def eligibility(
    data: Data,
    bundle: Model = "default",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Take all images for frontal chests: fit the bundle's model of them anew, and "
            "write a new version of the bundle to this folder."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Count which images a bundle accepts and which it refuses, by the column label."""
    _needs_training()
    from daemon import eligibility_command

    eligibility_command.eligibility(data, bundle, out, as_json=as_json)


def main() -> None:
    """Run the command line; what a person reads is one line, never a traceback."""
    try:
        app()
    except SettingsError as error:
        _fail(str(error), 2)
    except (DaemonError, StorageError, ClassifierError, TrainingError) as error:
        _fail(str(error), 1)
    except Exception as error:  # noqa: BLE001 - a traceback may quote a patient's data
        where = logs.whereabouts(error)
        _fail(f"unforeseen fault: {where['error']} at {where['at']}", 1)


def _fail(message: str, status: int) -> None:
    typer.echo(f"hilum: {message}", err=True)
    sys.exit(status)
