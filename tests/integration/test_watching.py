"""Real radiographs over DICOM through the real classifier: a station that inverts its greys is an
alarm on the API within 50 images; and what the audit of the drift leaves behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from daemon.listener import Listener
from daemon.run import Progress, Task
from daemon.run_drift import perform
from daemon.serving import Serving
from daemon.settings import Settings
from daemon.simulate import Form, Kind, make_object, send
from daemon.simulate.objects import Patient
from daemon.watching import Watch
from daemon.web.access import Role
from daemon.worker import Worker
from storage.errors import Refused
from storage.people import Scope
from storage.runs import Runs
from storage.schedules import Schedules
from tests.pages import Pages, open_pages

ALLOWED = 50
"""Images within which a station that inverts its greys is to be flagged."""


@dataclass
class Ward:
    """A listener, a worker with the default bundle, a watch and the API on one storage."""

    settings: Settings
    pages: Pages
    worker: Worker
    watch: Watch
    port: int
    images: list[Path]
    sent: int = 0

    def take(self, station: str, *, inverted: bool = False) -> list[str]:
        """Send one more radiograph of a station; return what is alarming then, by the API."""
        path = self.images[self.sent % len(self.images)]
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        grey = cv2.resize(grey, (512, 512), interpolation=cv2.INTER_AREA)
        self.sent += 1
        grey = np.roll(grey, self.sent // len(self.images), axis=1)  # another image each time
        patient = Patient(id=f"P{self.sent}", study_id=f"S{self.sent}")
        image = make_object(255 - grey if inverted else grey, Form(Kind.DX, 12), patient)
        image.StationName = station
        assert send([image], "127.0.0.1", self.port, "DX1", "HILUM")[0].status == 0x0000
        while self.worker.step(ahead=False):
            pass
        self.watch.step()
        program = self.pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH)
        found = program.get("/api/v1/alarms").json()["open"]
        return [f"{one['kind']} {one['subject']}" for one in found]


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory, demo_images: list[Path]) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    with open_pages(folder) as pages:
        storage = pages.storage
        settings = Settings(
            dicom={"bind": "127.0.0.1", "port": 0},
            storage={"root": folder, "database_url": f"sqlite:///{folder}/hilum.db"},
            report={"study_quiet_s": 0, "heat_map": "none"},
        )
        listener = Listener(settings, storage.objects, lambda: storage.queue)
        classifier = Serving(settings, storage.database, "worker-0").open()
        worker = Worker(settings, storage.objects, storage.database, classifier, "worker-0")
        watch = Watch(storage.database)
        yield Ward(settings, pages, worker, watch, listener.start(), demo_images)
        listener.stop(1.0)


def test_before_any_image_there_is_nothing_to_audit(ward: Ward, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No station has sent 20 images"):
        perform(audit(ward, tmp_path))


def test_a_station_that_inverts_its_greys_is_flagged_within_fifty_images(ward: Ward) -> None:
    for _ in range(20):
        assert ward.take("CR1") == []
    ward.take("DX2")
    found: list[str] = []
    for number in range(1, ALLOWED + 1):
        found = ward.take("CR1", inverted=True)
        if found:
            print(f"flagged by image {number} of the inverted ones")
            break
    assert "input_drift CR1" in found
    program = ward.pages.with_token(Role.ADMINISTRATOR, Scope.HEALTH)
    drift = program.get("/api/v1/alarms").json()["open"][0]
    assert drift["detail"]["against"] == "the bundle's reference"
    assert {"tone", "gamma", "ceiling", "distance"} & set(drift["detail"]["measures"])
    stations = {one["station"]: one for one in program.get("/api/v1/watching").json()["stations"]}
    assert stations["CR1"]["drifted"]
    assert not stations["DX2"]["drifted"]


def test_the_audit_leaves_figures_and_pictures(ward: Ward, tmp_path: Path) -> None:
    outcome = perform(audit(ward, tmp_path)).found
    first, second = outcome["stations"]
    assert (first["station"], second["station"]) == ("CR1", "DX2")
    assert first["drifted"]
    assert first["images"] >= 21
    measures = {one["measure"]: one for one in first["shifts"]}
    assert measures["tone"]["mean"]["low"] <= measures["tone"]["mean"]["value"]
    assert second["picture"] is None  # of one image there is nothing to see
    assert outcome["pictures"] == [first["picture"]]
    assert (tmp_path / first["picture"]).read_bytes().startswith(b"\x89PNG")
    assert outcome["alarms"] >= 1


def audit(ward: Ward, folder: Path) -> Task:
    """A run of the kind, claimed; whatever was in work is put back."""
    database = ward.pages.storage.database
    runs, number = Runs(database), Schedules(database).run_now("drift", "ada", 1.0)
    for one in runs.rows(10):
        if one.owner is not None:
            runs.put_back(2.0, one.owner)
    claim = runs.claim(number, f"host-{number}", 30, 3.0)
    assert claim is not None
    return Task(ward.settings, database, claim, folder, Progress())
