"""A running service with studies in it and a browser before it, for the tests of the study page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import BrowserContext, Page
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from daemon.headers import read_headers
from daemon.settings import load
from daemon.simulate import Damage, Form, Kind, Patient, Uids, Voi, make_object, send, to_bytes
from storage.accounts import Accounts
from storage.database import Database, open_database
from storage.objects import ObjectStore
from storage.people import NewAccount, Role
from storage.queue import Queue
from storage.records import Arrival, Attention, Finding, Result, ResultStatus
from storage.studies import Studies
from tests.browsing import sign_in
from tests.harness import Pacs, Service, running, until, write_config
from tests.pages import CHEAP, PASSWORD
from tests.storing import new_report

SHOWN = "#slot-main[data-state=shown]"
HOSTILE = "<script>alert(1)</script>^Eva"
EVA = {"name": "Lindqvist^Maria", "id": "P-1", "birth_date": "19610204", "sex": "F"}
CELL = (9, 4)  # row and column of the one warm cell of the made-up map
GRID, SIDE = 14, 224

# Each of these was made so that a right display shows the picture again
FORMS = {
    "plain": Form(Kind.CR, 12),
    "MONOCHROME1, JPEG 2000": Form(Kind.CR, 12, inverted=True, transfer_syntax=JPEG2000Lossless),
    "SIGMOID, JPEG-LS": Form(Kind.CR, 12, voi=Voi.SIGMOID, transfer_syntax=JPEGLSLossless),
    "VOI LUT, JPEG lossless": Form(Kind.CR, 12, voi=Voi.LUT, transfer_syntax=JPEGLosslessSV1),
    "LINEAR_EXACT, RLE": Form(Kind.CR, 16, voi=Voi.LINEAR_EXACT, transfer_syntax=RLELossless),
    "big endian": Form(Kind.CR, 14, transfer_syntax=ExplicitVRBigEndian),
}


@dataclass
class Room:
    """The service, its PACS, and the studies by name."""

    service: Service
    pacs: Pacs
    studies: dict[str, Dataset] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.service.saw('web.listening', 30)['port']}"

    @property
    def database(self) -> Database:
        return open_database(load(self.service.config).storage.url)

    def uid(self, name: str) -> str:
        return str(self.studies[name].StudyInstanceUID)

    def reader(self, login: str, *, blinded: bool = False) -> None:
        """Add a radiologist."""
        new = NewAccount(
            login,
            f"Dr. {login.title()}",
            f"{login.title()}^Test",
            "Test",
            Role.RADIOLOGIST,
            blinded,
            CHEAP.make(PASSWORD),
        )
        Accounts(self.database).add(new, time.time())

    def sign_in(self, context: BrowserContext, login: str) -> Page:
        """Return a page of a reader who has signed in."""
        return sign_in(context, login, self.address)

    def open(self, page: Page, name: str) -> None:
        """Open a study and wait until its image is seen."""
        page.goto(f"{self.address}/studies/{self.uid(name)}")
        page.wait_for_selector(SHOWN)
        page.wait_for_selector("#findings ol, #findings .refused")

    def send(self, *objects: Dataset) -> None:
        """Send images, and wait until each study has a report with all of them."""
        before = len(self.pacs.stored)
        studies = {str(one.StudyInstanceUID) for one in objects}
        send(list(objects), "127.0.0.1", self.service.port, "CR1", "HILUM")
        until(lambda: len(self.pacs.stored) >= before + len(studies), 60)

    def reports(self, name: str) -> list[Dataset]:
        """Return what the PACS holds of a study, in the order of its coming."""
        uid = self.uid(name)
        return [one for one in list(self.pacs.stored) if uid == str(one.StudyInstanceUID)]


@contextmanager
def reading_room(folder: Path, demo_images: list[Path]) -> Iterator[Room]:
    """Run a service to which the studies have been sent, and one that was written by hand."""
    pacs = Pacs().start()
    service = Service(folder, write_config(folder, pacs.port))
    room = Room(service, pacs)
    warm = _write_warm(service)
    try:
        with running(service):
            room.studies = {**_objects(demo_images), "warm": warm}
            room.reader("eva")
            room.reader("ben", blinded=True)
            room.send(*(one for name, one in room.studies.items() if name != "warm"))
            yield room
    finally:
        pacs.stop()


def _objects(images: list[Path]) -> dict[str, Dataset]:
    at = datetime(2026, 11, 20, 9, 30)
    made = {
        "large": make_object(
            large(images[0]), Form(Kind.DX, 14), Patient(**EVA, accession="A1", studied_at=at)
        ),
        "prior": make_object(
            images[0], Form(Kind.CR, 12),
            Patient(**EVA, accession="A0", studied_at=datetime(2025, 3, 2, 8, 12)),
        ),
        "two": make_object(images[6], Form(Kind.CR, 12), Patient(id="P-2", accession="A2"),
                           Uids(study="1.2.826.0.1.3680043.10.77.2")),
        "damaged": make_object(
            images[5],
            Form(Kind.CR, 12, transfer_syntax=JPEG2000Lossless, damage=Damage.GARBLED),
            Patient(id="P-3", accession="A3"),
        ),
        "blinded": make_object(images[7], Form(Kind.CR, 12), Patient(id="P-4", accession="A4")),
        "down": make_object(images[8], Form(Kind.CR, 12), Patient(HOSTILE, "P-5", accession="A5")),
    }  # fmt: skip
    for number, (name, form) in enumerate(FORMS.items()):
        made[name] = make_object(
            images[1], form, Patient(id=f"P-F{number}", accession=f"F{number}")
        )
    return made


def large(image: Path) -> NDArray[np.uint16]:
    """A demo radiograph as a detector of 5 megapixels would have it: 10 MB."""
    grey = cv2.imread(str(image), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    wide = cv2.resize(grey, (2200, 2300), interpolation=cv2.INTER_CUBIC)
    return wide.astype(np.uint16) * 257


def _write_warm(service: Service) -> Dataset:
    """A study with one finding whose map is warm in one cell, where the image has a white square.

    600 rows and 1000 columns: the model's square input reaches beyond the image above and below.
    """
    settings = load(service.config)
    grey = np.full((600, 1000), 40, np.uint8)
    scale = 1000 / SIDE
    top, cell = -200.0, 1000 / GRID
    y, x = top + CELL[0] * cell, CELL[1] * cell
    grey[round(y) : round(y + cell), round(x) : round(x + cell)] = 255
    image = make_object(grey, Form(Kind.CR, 12), Patient(id="P-W", accession="W"))
    objects = ObjectStore(settings.storage.root)
    stored = objects.put(to_bytes(image))
    database = open_database(settings.storage.url)
    database.migrate(settings.storage.root / "backups")
    queue, now = Queue(database), time.time()
    queue.accept(
        Arrival(
            str(image.SOPInstanceUID),
            str(image.SOPClassUID),
            str(image.file_meta.TransferSyntaxUID),
            stored.sha256,
            stored.size_bytes,
            "CR1",
            "HILUM",
            "127.0.0.1",
            now,
        )
    )
    job = queue.claim("test", 60, now)
    assert job is not None
    maps = np.zeros((GRID, GRID), "<f2")
    maps[CELL] = 1
    found = Finding("pneumonia", "233604007", "SCT", "Pneumonia", 0.37, 0.29)
    attention = Attention(maps.tobytes(), GRID, 600, 1000, top, 0.0, scale, SIDE)
    result = Result(ResultStatus.ANALYSED, "made up 1", (found,), attention=attention)
    queue.finish(job, result, str(image.StudyInstanceUID), 0, now, read_headers(image))
    # A study whose report is not made yet would be analysed again by the bundle that serves
    studies = Studies(database)
    due = studies.claim_due("test", 60, now)
    assert due is not None
    studies.reported(due, new_report(f"{image.StudyInstanceUID}.1", now), (), now)
    database.close()
    return image
