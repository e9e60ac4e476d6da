"""A service's storage with judged radiographs, for the tests of what learns from them."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from sqlalchemy import insert

from classifier.bundle import default_folder, load_bundle, write_bundle
from daemon.settings import Settings, load
from daemon.shelf import Shelf
from daemon.simulate import Form, make_object
from storage.database import Database, open_database
from storage.headers import Headers, ImageHeader, StudyHeader
from storage.labelled import Labelled, ReportLabel
from storage.ledger import Ledger
from storage.objects import ObjectStore
from storage.queue import Queue
from storage.schema import holdout_draw
from tests.harness import write_config
from tests.storing import analysed, arrival

DEMO = Path(__file__).parents[1] / "deploy" / "demo"
# The real command; most of a training's time, the int8 form and the model of frontal chests, from
# fewer images than they take there.
COMMAND = (
    sys.executable,
    "-c",
    "import training.frontal, training.quantise; "
    "training.frontal.COPIES, training.quantise.SAMPLE = 24, 12; "
    "from daemon.cli import main; main()",
)
NAMES = {
    "pneumonia": {"Pneumonia"},
    "infiltration": {"Infiltration"},
    "atelectasis": {"Atelectasis"},
    "pleural_effusion": {"Effusion"},
    "nodule_or_mass": {"Nodule", "Mass"},
}


def quick(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=170
    )


@dataclass(frozen=True)
class Hospital:
    """A storage as a service leaves it: the default bundle serves, images are classified."""

    config: Path
    settings: Settings
    database: Database
    objects: ObjectStore
    studies: int

    def import_all(self) -> None:
        """Import of each study what is published of its radiograph."""
        Labelled(self.database).import_reports(list(lines(self.studies)), "ada", 10.0)


def open_hospital(
    folder: Path, copies: int, bundle: Path | None = None, **sections: dict[str, Any]
) -> Hospital:
    """Store changed copies of the twelve radiographs, each of another patient."""
    config = write_config(folder, None, **sections)
    settings = load(config)
    root = settings.storage.root
    objects = ObjectStore(root)
    database = open_database(settings.storage.url)
    database.migrate(root / "backups")
    ledger = Ledger(database)
    taken = Shelf(root).take(bundle or default_folder(), ledger, 1.0, link=True)
    ledger.configure(taken.digest, 2.0)
    queue, count = Queue(database), 0
    with database.write() as connection:
        # The salt that nobody chooses, chosen: the same patients are held out each time
        draw = {"share": 0.3, "salt": "tests", "actor": "service", "reason": "a test", "at": 1.0}
        connection.execute(insert(holdout_draw).values(**draw))
        for number, (_, image) in enumerate(radiographs(copies)):
            store(queue, objects, number, image)
            count += 1
    return Hospital(config, settings, database, objects, count)


def stripped(folder: Path, *, replay: bool) -> Path:
    """The default bundle without its int8 form, and with or without its replay."""
    default = load_bundle()
    manifest = default.manifest
    gone = set(manifest.graph_files)
    if not replay and manifest.replay is not None:
        gone.add(manifest.replay.file)
    contents = {name: default.read(name) for name in manifest.files if name not in gone}
    changes: dict[str, Any] = {"version": f"stripped-{int(replay)}", "graphs": {}, "parity": {}}
    if not replay:
        changes["replay"] = None
    write_bundle(folder, manifest.model_copy(update=changes), contents)
    return folder


def store(queue: Queue, objects: ObjectStore, number: int, image: NDArray[np.uint8]) -> None:
    """Take one image through the queue, its file in the object store."""
    dataset = make_object(image, Form())
    file = io.BytesIO()
    dcmwrite(file, dataset, enforce_file_format=True)
    stored = objects.put(file.getvalue())
    queue.accept(replace(arrival(f"1.{number}"), sha256=stored.sha256))
    job = queue.claim("w1", 60, 3.0)
    assert job is not None
    header = StudyHeader(
        patient_id=f"P{number}", patient_sex="F" if number % 2 else "M", patient_age="050Y",
        accession_number=f"A{number}", station="CR1",
    )  # fmt: skip
    headers = Headers(header, ImageHeader(view_position="PA" if number % 3 else "AP"))
    queue.finish(job, analysed(), f"9.{number}", 0, 4.0, headers)


def lines(studies: int) -> Iterator[ReportLabel]:
    """What is published of the radiograph of each study."""
    rows = _rows()
    for number in range(studies):
        said = set(rows[number % len(rows)]["labels"].split("|"))
        for name, labels in NAMES.items():
            yield ReportLabel(f"A{number}", name, bool(said & labels))


def radiographs(copies: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Each radiograph, turned and darkened a little, again and again."""
    random = np.random.default_rng(0)
    sources = [cv2.imread(str(DEMO / row["image"]), cv2.IMREAD_GRAYSCALE) for row in _rows()]
    for copy in range(copies):
        for number, source in enumerate(sources):
            matrix = cv2.getRotationMatrix2D((512, 512), random.uniform(-8, 8), 1.05)
            turned = cv2.warpAffine(source, matrix, (1024, 1024), borderMode=cv2.BORDER_REFLECT)
            small = cv2.resize(turned, (256, 256), interpolation=cv2.INTER_AREA)
            darker = np.clip(small * random.uniform(0.7, 1.0), 0, 255).astype(np.uint8)
            yield f"{number}-{copy}", darker


def _rows() -> list[dict[str, str]]:
    with (DEMO / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))
