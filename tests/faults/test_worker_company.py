"""Two images are claimed at a time: one that ends the process must not take the other along.

The decoder and the engine are the test's, and do what an image's PatientID says: ``KILL`` ends the
process while the image is decoded, ``LATE`` while the engine runs on it.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

from classifier.classify import Classification
from classifier.preprocessing import Placement
from daemon.contexts import COMPUTED_RADIOGRAPHY
from daemon.settings import Settings
from daemon.worker import Worker
from storage.records import Arrival, JobState
from tests.storing import Storage, arrival, open_storage

ENGINE_S = 0.05  # long enough for the image beside it to be claimed and to do its harm


@dataclass
class Prepared:
    """What a prepared image says it does."""

    deed: str


class Victim:
    """What a worker asks of a classifier."""

    version = "victim 1"
    digest = "0" * 64
    engine = SimpleNamespace(name="none")
    thresholds: ClassVar[dict[str, float]] = {}

    def prepare(self, dataset: Dataset) -> Any:
        _die(str(dataset.PatientID), "KILL")
        return Prepared(str(dataset.PatientID))

    def infer(self, prepared: Prepared) -> Classification:
        time.sleep(ENGINE_S)
        _die(prepared.deed, "LATE")
        placement = Placement(rows=16, columns=16, top=0, left=0, scale=1, side=16)
        return Classification((), np.zeros((0, 14, 14), np.float32), placement)


def _die(deed: str, when: str) -> None:
    if deed == when:
        os.kill(os.getpid(), signal.SIGKILL)


def put(storage: Storage, number: int, deed: str) -> None:
    """Accept an image of a study of its own that does this to the decoder."""
    dataset = Dataset()
    dataset.SOPClassUID = COMPUTED_RADIOGRAPHY
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = f"1.{number}", f"9.{number}"
    dataset.PatientID = deed
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    stored = storage.objects.put(buffer.getvalue())
    same = arrival(f"1.{number}")
    storage.queue.accept(
        Arrival(
            same.sop_instance_uid, same.sop_class_uid, same.transfer_syntax_uid, stored.sha256,
            stored.size_bytes, same.calling_ae, same.called_ae, same.peer_address, number,
        )
    )  # fmt: skip


def live(root: Path) -> None:
    """Answer all images there are."""
    storage = open_storage(root)
    settings = Settings(report={"study_quiet_s": 3600})
    classifier: Any = Victim()
    worker = Worker(settings, storage.objects, storage.database, classifier, "worker-0")
    while worker.step():
        pass


def work(storage: Storage) -> int:
    """Run workers one after another, as the supervisor does, and return how many were killed."""
    killed = 0
    while True:
        storage.database.close()
        worker = get_context("fork").Process(target=live, args=(storage.root,))
        worker.start()
        worker.join(60)
        if worker.exitcode == 0:
            return killed
        assert worker.exitcode == -signal.SIGKILL
        killed += 1
        storage.queue.release("worker-0", time.time())


@pytest.mark.parametrize("deed", ["KILL", "LATE"])
def test_an_image_that_ends_the_process_is_given_up_and_its_neighbours_are_not(
    tmp_path: Path, deed: str
) -> None:
    storage = open_storage(tmp_path)
    deeds = ["", "", deed, "", ""]
    for number, one in enumerate(deeds, 1):
        put(storage, number, one)
    assert work(storage) == 3

    rows = {row.sop_instance_uid: row for row in storage.queue.rows()}
    for number, one in enumerate(deeds, 1):
        row = rows[f"1.{number}"]
        expected = (JobState.QUARANTINED, "crashed") if one else (JobState.DONE, None)
        assert (row.state, row.reason_code) == expected
        assert row.attempts <= (4 if one else 2)
    assert sum(row.attempts for row in rows.values()) == len(deeds) + 3 + 1  # one in company
