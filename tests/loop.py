"""A small hospital around a real service, for the tests that walk the closed loop.

Its bundle has the default one's weights at a small input, so that a network's pass takes a fraction
of the usual time, and probabilities that are far too high, so that a recalibration has to help.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from pydicom.dataset import Dataset
from sqlalchemy import insert

from classifier.bundle import load_bundle, write_bundle
from daemon.report.reading import groups
from daemon.simulate import Form, Kind, Patient, make_object, send
from storage.database import Database, open_database
from storage.schema import holdout_draw
from tests.harness import PASSWORD, Pacs, Service, until
from tests.learning import radiographs
from tests.pages import csrf_of

SIDE = 96
TOO_HIGH = 5.0  # added to each logit
LEARNT = 84  # images that a radiologist reviews; some of their patients are held out


def small_bundle(folder: Path, version: str = "small-1") -> Path:
    """Write a bundle that is quick, and whose probabilities are too high."""
    default = load_bundle()
    manifest = default.manifest
    gone = {*manifest.graph_files, "frontal.safetensors"}
    if manifest.replay is not None:
        gone.add(manifest.replay.file)
    findings = tuple(
        replace(one, calibration=replace(one.calibration, intercept=_raised(one.calibration)))
        for one in manifest.findings
    )
    changes: dict[str, Any] = {
        "version": version, "graphs": {}, "parity": {}, "replay": None, "frontal": None,
        "architecture": replace(manifest.architecture, side=SIDE), "findings": findings,
    }  # fmt: skip
    contents = {name: default.read(name) for name in manifest.files if name not in gone}
    write_bundle(folder, manifest.model_copy(update=changes), contents)
    return folder


def _raised(calibration: Any) -> float:
    return float(calibration.intercept + TOO_HIGH)


def images(first: int, count: int) -> Iterator[Dataset]:
    """Radiographs as a modality makes them: each of another patient, none like another."""
    pictures = list(radiographs(-(-(first + count) // 12)))
    for number in range(first, first + count):
        patient = Patient(
            name=f"Loop^{number}", id=f"L{number}", accession=f"A{number}", study_id=f"S{number}",
            sex="F" if number % 2 else "M", birth_date=f"19{40 + number % 50}0101",
        )  # fmt: skip
        view = "PA" if number % 3 else "AP"
        yield make_object(pictures[number][1], Form(Kind.DX, 12, view=view), patient)


def signed_in(service: Service, login: str, role: str) -> httpx.Client:
    """Make an account by the command line, and sign in as a browser does."""
    service.add_user(login, role)
    browser = httpx.Client(base_url=service.saw("web.listening", 30)["url"], timeout=30)
    form = {"login": login, "password": PASSWORD, "csrf_token": csrf_of(browser.get("/sign-in"))}
    assert browser.post("/sign-in", data=form).status_code == 303
    browser.headers["X-CSRF-Token"] = csrf_of(browser.get("/account"))
    return browser


@dataclass
class Loop:
    """The service, its PACS, and what was sent."""

    service: Service
    pacs: Pacs
    sent: list[str] = field(default_factory=list)  # Study Instance UIDs

    def database(self) -> Database:
        return open_database(f"sqlite:///{self.service.folder}/root/hilum.sqlite")

    def send(self, count: int) -> list[str]:
        """Send the next images; return their studies once the PACS has a report of each."""
        made = list(images(len(self.sent), count))
        assert self.give(made) == count
        studies = [str(one.StudyInstanceUID) for one in made]
        self.sent += studies
        until(lambda: set(studies) <= set(self.reports()), 90)
        return studies

    def give(self, made: list[Dataset]) -> int:
        """Send images; return how many were acknowledged."""
        done = send(made, "127.0.0.1", self.service.port, "DX1", "HILUM")
        return sum(one.status == 0x0000 for one in done)

    def reports(self) -> dict[str, Dataset]:
        """Return the last report of each study that the PACS holds."""
        return {str(one.StudyInstanceUID): one for one in list(self.pacs.stored)}

    def versions(self, studies: Iterable[str]) -> set[str]:
        """Return the bundles that the reports of these studies are of."""
        held = self.reports()
        return {group.algorithm for study in studies for group in groups(held[study])}

    def review(self, radiologist: httpx.Client) -> None:
        """Judge each study sent: with a finding is what scores above its median, but for a few."""
        held = {study: groups(report) for study, report in self.reports().items()}
        names = [one.name for one in held[self.sent[0]]]
        scores = np.array([[one.probability for one in held[study]] for study in self.sent])
        truth = (scores > np.median(scores, axis=0)) != (
            (np.arange(len(scores))[:, None] + np.arange(len(names))) % 7 == 0
        )
        for study, row in zip(self.sent, truth, strict=True):
            answers = [
                {
                    "sop_instance_uid": one.source.sop_instance_uid, "finding": one.name,
                    "answer": "agree" if (one.presence == "Present") == present else "disagree",
                }
                for one, present in zip(held[study], row, strict=True)
                if one.source is not None
            ]  # fmt: skip
            given = {"kind": "review", "seen_version": 1, "answers": answers}
            written = radiologist.post(f"/api/v1/studies/{study}/reviews", json=given)
            assert written.status_code == 201, written.text

    def draw(self) -> None:
        """Choose the salt that nobody chooses: the same patients are held out each time."""
        draw = {"share": 0.35, "salt": "loop", "actor": "service", "reason": "a test", "at": 1.0}
        database = self.database()
        with database.write() as connection:
            connection.execute(insert(holdout_draw).values(**draw))
        database.close()
