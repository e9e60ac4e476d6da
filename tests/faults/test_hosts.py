"""Three hosts on one PostgreSQL and one root: any may die, be cut off, or lose the server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from daemon.simulate import Form, Kind, Patient, Uids, make_object, to_bytes
from storage.hosts import SILENT_S
from tests.databases import Server
from tests.harness import Service, until, write_config
from tests.hosts import Network, network

pytestmark = [pytest.mark.slow, pytest.mark.peer, pytest.mark.timeout(300)]

IMAGES = 36
HOSTS = ("a", "b", "c")


class Hospital:
    """Three hosts of the service, their database, a PACS, and a modality."""

    def __init__(self, folder: Path, wires: Network) -> None:
        self.folder, self.wires = folder, wires
        address = wires.add("db")
        self.server = Server(on=wires.on("db"), address=address)
        self.received = folder / "pacs"
        self.received.mkdir()
        wires.add("cr")
        pacs = wires.add("pacs")
        self._pacs = subprocess.Popen(
            [*wires.on("pacs"), "storescp", "+uf", "-aet", "TESTPACS", "-od",
             str(self.received), "11113"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.services = {
            name: Service(
                folder / name,
                write_config(
                    folder / name, 11113,
                    pacs={"host": pacs}, dicom={"bind": wires.add(name)},
                    storage={"root": str(folder / "root"), "host_name": name,
                             "database_url": self.server.url()},
                ),
                within=wires.on(name),
            )
            for name in HOSTS
        }  # fmt: skip

    def send(self, host: str, files: list[Path]) -> None:
        """Send files to a host; every one must be acknowledged."""
        sent = subprocess.run(
            [*self.wires.on("cr"), "storescu", "-aec", "HILUM", self.wires.hosts[host],
             str(self.services[host].port), *map(str, files)],
            check=False, capture_output=True, timeout=120,
        )  # fmt: skip
        assert sent.returncode == 0, sent.stderr

    def reports(self) -> list[tuple[str, str]]:
        """Return study and SOP Instance UID of each report that the PACS was sent."""
        written = time.time() - 0.5  # storescp writes to the file that is seen
        whole = [file for file in self.received.iterdir() if file.stat().st_mtime < written]
        found = [dcmread(file, stop_before_pixels=True) for file in whole]
        return [
            (str(one.StudyInstanceUID), str(one.SOPInstanceUID))
            for one in found
            if one.Modality == "SR"
        ]

    def end(self) -> None:
        for service in self.services.values():
            if service.process is not None and service.process.poll() is None:
                service.kill()
        self._pacs.terminate()
        self._pacs.wait(10)
        self.server.remove()


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    with network() as wires:
        one = Hospital(tmp_path, wires)
        try:
            yield one
        finally:
            one.end()


def radiographs(folder: Path, sources: list[Path], count: int) -> list[Path]:
    """Write so many studies of one image."""
    folder.mkdir()
    files = []
    for number in range(count):
        study = f"1.2.826.0.1.3680043.10.99.{number + 1}"
        uids = Uids(study=study, sop_instance=f"{study}.1")
        patient = Patient(id=f"H{number}", accession=f"H{number}")
        with Image.open(sources[number % len(sources)]) as picture:
            shown = np.asarray(picture.convert("L"), dtype=np.uint8)
        one = make_object(shown, Form(Kind.DX, 12), patient, uids)
        files.append(folder / f"{number}.dcm")
        files[-1].write_bytes(to_bytes(one))
    return files


@pytest.mark.soak
def test_hosts_take_over_from_each_other(
    tmp_path: Path, hospital: Hospital, demo_images: list[Path]
) -> None:
    """One host is killed, one is cut off, the database is restarted: nothing lost, none twice."""
    files = radiographs(tmp_path / "images", demo_images, IMAGES)
    first, *others = hospital.services.values()
    first.start()
    for service in others:
        service.start()
    third = IMAGES // 3
    hospital.send("a", files[:third])
    hospital.send("b", files[third : 2 * third])
    first.kill()  # with what its worker holds
    hospital.wires.cut("b")
    hospital.send("c", files[2 * third :])
    hospital.server.stop("immediate")
    hospital.server.start()
    until(lambda: len({study for study, _ in hospital.reports()}) == IMAGES, 3 * SILENT_S + 60, 0.5)
    hospital.wires.mend("b")
    hospital.services["b"].saw("worker.ready", 5)
    time.sleep(5.0)  # what b had in hand ends now, and must make nothing anew
    sent = hospital.reports()
    assert len({uid for _, uid in sent}) == IMAGES  # one report of each study, whoever sent it
    assert hospital.services["c"].events("host.silent")
