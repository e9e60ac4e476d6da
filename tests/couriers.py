"""A storage with reports in its outbox, and the couriers that take them to a PACS."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.sop_class import ComprehensiveSRStorage

from daemon.courier import Courier
from daemon.report import encode
from daemon.settings import PacsSettings
from storage.database import Database, open_database
from storage.objects import ObjectStore
from storage.outbox import Outbox
from storage.queue import Queue
from storage.records import (
    Arrival,
    DeliveryRow,
    DeliveryState,
    NewObject,
    NewReport,
    Result,
    ResultStatus,
    Sha256,
)
from storage.studies import Studies
from tests import databases
from tests.harness import Pacs


class Never:
    """A stop signal that is not given."""

    def __bool__(self) -> bool:
        return False

    def wait(self, seconds: float) -> bool:
        time.sleep(min(seconds, 0.15))
        return False


class Bench:
    """A storage with reports in its outbox, and a courier for them."""

    def __init__(self, root: Path, pacs: Pacs, **settings: Any) -> None:
        self.database: Database = open_database(databases.url(root / "hilum.sqlite"))
        self.database.migrate(root / "backups")
        self.objects = ObjectStore(root)
        self.queue = Queue(self.database)
        self.studies = Studies(self.database)
        self.outbox = Outbox(self.database)
        self.settings = PacsSettings(
            name="test", ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port,
            **{"timeout_s": 1, **settings},
        )  # fmt: skip
        self.courier = self.another()

    def another(self, heat_map: str = "sc") -> Courier:
        """Return a courier as a fresh process would make it."""
        return Courier(self.settings, "HILUM", self.database, self.objects, "delivery", heat_map)

    def close(self) -> None:
        self.courier.end()
        self.database.close()

    def report(
        self, study: str, dataset: Dataset | None = None, beside: Sequence[Dataset] = ()
    ) -> str:
        """Put one more image, and so one more report, of the study into the storage."""
        now = time.time()
        number = sum(self.queue.counts().jobs.values())
        arrival = Arrival(
            f"1.2.{number}", "1.2.840.10008.5.1.4.1.1.1", ExplicitVRLittleEndian,
            Sha256(f"{number:064}"), 1, "CR1", "HILUM", "127.0.0.1", now,
        )  # fmt: skip
        self.queue.accept(arrival)
        job = self.queue.claim("w", 30, now)
        assert job is not None
        result = Result(ResultStatus.NOT_ANALYSED, reason_code="too_small", reason="small")
        self.queue.finish(job, result, study, 0.0, now)
        claim = self.studies.claim_due("w", 30, now + 1)
        assert claim is not None
        if dataset is None:
            dataset = document(f"1.2.3.{number}", study)
        companions = tuple(NewObject(*self._keep(one)) for one in beside)
        made = NewReport(*self._keep(dataset), now, companions)
        self.studies.reported(claim, made, ["test"], now)
        return str(dataset.SOPInstanceUID)

    def _keep(self, dataset: Dataset) -> tuple[str, str, Sha256, int]:
        stored = self.objects.put(encode(dataset))
        return (
            str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), stored.sha256, stored.size_bytes
        )  # fmt: skip

    def run(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Deliver until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.rows()
            wait_s = self.courier.step(Never())
            time.sleep(min(wait_s, 0.02))

    def rows(self) -> list[DeliveryRow]:
        return self.outbox.rows()

    def row(self, uid: str) -> DeliveryRow:
        """The delivery of that object."""
        (found,) = [row for row in self.rows() if row.sop_instance_uid == uid]
        return found

    def all_in(self, state: DeliveryState) -> Callable[[], bool]:
        return lambda: all(row.state is state for row in self.rows())


def document(uid: str, study: str, sop_class: str = ComprehensiveSRStorage) -> Dataset:
    """Return the least that a PACS stores."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.StudyInstanceUID = sop_class, uid, study
    dataset.Modality = "SR"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    return dataset


def capture(uid: str, study: str, sop_class: str) -> Dataset:
    """Return an object as it stands beside a report, with pixels."""
    dataset = document(uid, study, sop_class)
    dataset.Modality = "OT"
    dataset.Rows = dataset.Columns = 16
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "RGB", 0
    dataset.PixelData = bytes(range(256)) * 3
    return dataset
