"""From a review to the PACS: a real worker, a real courier, and a scripted PACS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from pydicom.dataset import Dataset

from classifier.classify import Classification
from classifier.errors import NotEligible
from classifier.preprocessing import Placement
from daemon.courier import Courier
from daemon.report.reading import groups
from daemon.settings import PacsSettings, ReportSettings, Settings, StorageSettings
from daemon.simulate import Form, Kind, Patient, Uids, make_object, to_bytes
from daemon.worker import Worker
from storage.records import Arrival, Finding, StudyState
from storage.reviews import UNDO_S, Reviews
from storage.studies import Studies
from storage.worklist import Worklist
from tests.couriers import Never
from tests.harness import Pacs
from tests.reporting import content
from tests.reviewing import ANNA, BEN, answer, review
from tests.storing import CR, EXPLICIT_LE, Storage, open_storage

STUDY = "1.2.826.0.1.3680043.10.77.5"


class Sees:
    """Finds what it is told to; the network's judgement is no concern here."""

    version = "test 1"
    digest = "0" * 64
    engine = SimpleNamespace(name="none")
    thresholds: ClassVar = {"pneumonia": 0.5, "pleural_effusion": 0.5}

    def __init__(self, probability: float = 0.9) -> None:
        self.probability = probability

    def prepare(self, dataset: Dataset) -> Any:
        if dataset.get("ViewPosition") == "LL":
            raise NotEligible("not_frontal", "The header says LL, not a frontal view.")
        return object()

    def infer(self, _prepared: Any) -> Classification:
        found = (
            Finding("pneumonia", "233604007", "SCT", "Pneumonia", self.probability, 0.5),
            Finding("pleural_effusion", "60046008", "SCT", "Pleural effusion", 0.1, 0.5),
        )
        placement = Placement(rows=320, columns=256, top=0, left=-32, scale=320 / 224, side=224)
        return Classification(found, np.ones((2, 14, 14), np.float32), placement)


class Ward:
    """A worker on a clock of its own, a courier, and the PACS that it sends to."""

    def __init__(self, root: Path, pacs: Pacs, **chosen: Any) -> None:
        self.storage: Storage = open_storage(root)
        self.pacs, self.now = pacs, time.time() - 10_000  # what is due is due for the courier
        peer = PacsSettings(name="main", ae_title="TESTPACS", host="127.0.0.1", port=pacs.port)
        report = {"study_quiet_s": 0, "heat_map": "none", **chosen}
        self.settings = Settings(
            storage=StorageSettings(root=root), report=ReportSettings(**report), pacs=(peer,)
        )
        self.reviews = Reviews(self.storage.database)
        self.courier = Courier(
            peer, "HILUM", self.storage.database, self.storage.objects, "delivery"
        )
        self.work(Sees())

    def work(self, sees: Any) -> None:
        self.worker = Worker(
            self.settings, self.storage.objects, self.storage.database, sees, "worker-0",
            clock=lambda: self.now,
        )  # fmt: skip

    def image(self, number: int, **changes: Any) -> str:
        """Take in an image of the study; return its UID."""
        grey = np.full((320, 256), number, dtype=np.uint8)
        patient = Patient(name="Demo^Jörg", id="P1", accession="A1")
        made = make_object(grey, Form(Kind.CR), patient, Uids(study=STUDY))
        for keyword, value in changes.items():
            setattr(made, keyword, value)
        kept = self.storage.objects.put(to_bytes(made))
        self.storage.queue.accept(
            Arrival(
                str(made.SOPInstanceUID), CR, EXPLICIT_LE, kept.sha256, kept.size_bytes,
                "CR1", "HILUM", "127.0.0.1", self.now,
            )
        )  # fmt: skip
        self.run()
        return str(made.SOPInstanceUID)

    def run(self, seconds: float = 1.0) -> None:
        """Let so much time pass, and everything that is then to do be done."""
        self.now += seconds
        while self.worker.step(ahead=False):
            pass
        while self.courier.step(Never()) == 0:
            pass

    def read(self, *answers: Any, seen: int, reader: Any = ANNA, note: str = "") -> Dataset:
        """Have a reader review the study; return what the PACS then got last."""
        new = replace(review(*answers, seen=seen, reader=reader, study=STUDY), note=note)
        self.reviews.write(new, self.now)
        self.run(UNDO_S)
        return self.last

    @property
    def last(self) -> Dataset:
        return self.pacs.stored[-1]

    @property
    def versions(self) -> list[int]:
        return [int(one.InstanceNumber) for one in self.pacs.stored]


@pytest.fixture
def ward(tmp_path: Path, pacs: Pacs) -> Iterator[Ward]:
    made = Ward(tmp_path, pacs)
    yield made
    made.courier.end()
    made.storage.database.close()


def predecessor(report: Dataset) -> str:
    series = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    return str(series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def presence(report: Dataset) -> dict[str, str]:
    return {group.name: group.presence for group in groups(report)}


def summary(report: Dataset) -> str:
    return str(content(report, "Summary")[0].TextValue)


def test_a_confirmation_supersedes_the_report_in_the_pacs(ward: Ward) -> None:
    image = ward.image(1)
    first = ward.last
    ward.reviews.write(review(answer(image, "pneumonia", "agree"), study=STUDY), ward.now)
    ward.run(UNDO_S - 0.1)
    assert ward.versions == [1]
    ward.run(0.6)
    assert ward.versions == [1, 2]
    made = ward.last
    assert made.VerificationFlag == "VERIFIED"
    assert made.VerifyingObserverSequence[0].VerifyingObserverName == ANNA.person_name
    assert made.VerifyingObserverSequence[0].VerifyingOrganization == "Hospital"
    assert predecessor(made) == first.SOPInstanceUID
    assert made.SeriesInstanceUID == first.SeriesInstanceUID
    assert made.PatientName == first.PatientName == "Demo^Jörg"
    ward.run(60)
    assert ward.versions == [1, 2]


def test_a_correction_carries_the_radiologists_values(ward: Ward) -> None:
    image = ward.image(1)
    made = ward.read(
        answer(image, "pneumonia", "disagree"),
        answer(image, "pleural_effusion", "unsure"),
        answer(image, "pneumothorax", "added"),
        seen=1,
        note="Spitzenpneumothorax, Größe 1 cm",
    )
    assert presence(made) == {
        "pneumonia": "Absent", "pleural_effusion": "Absent", "pneumothorax": "Present",
    }  # fmt: skip
    labels = {one.finding: one.present for one in ward.reviews.labels()}
    assert labels == {"pneumonia": False, "pneumothorax": True}


def test_what_was_undone_reaches_nobody(ward: Ward) -> None:
    ward.image(1)
    made = ward.reviews.write(review(study=STUDY), ward.now)
    ward.reviews.undo(made.id, ANNA.account, ward.now + 9)
    ward.run(60)
    assert ward.versions == [1]
    assert ward.reviews.labels() == []


def test_the_second_readers_word_supersedes_the_first(ward: Ward) -> None:
    image = ward.image(1)
    first = ward.read(answer(image, "pneumonia", "disagree"), seen=1)
    second = ward.read(answer(image, "pneumonia", "agree"), seen=2, reader=BEN)
    assert ward.versions == [1, 2, 3]
    assert predecessor(second) == first.SOPInstanceUID
    assert [presence(one)["pneumonia"] for one in (first, second)] == ["Absent", "Present"]
    assert second.VerifyingObserverSequence[0].VerifyingObserverName == BEN.person_name
    assert {one.reviewer: one.present for one in ward.reviews.labels()} == {
        "anna": False, "ben": True,
    }  # fmt: skip


def test_a_late_image_is_reported_beside_what_was_read_and_asks_to_be_read(ward: Ward) -> None:
    image = ward.image(1)
    corrected = ward.read(answer(image, "pneumonia", "disagree"), seen=1)
    late = ward.image(2)
    made = ward.last
    assert (ward.versions, made.VerificationFlag) == ([1, 2, 3], "UNVERIFIED")
    assert predecessor(made) == corrected.SOPInstanceUID
    said = {(g.source.sop_instance_uid, g.name): g.presence for g in groups(made) if g.source}
    assert said[image, "pneumonia"] == "Absent"
    assert said[late, "pneumonia"] == "Present"
    assert summary(made).startswith("READ IN PART")
    row = Worklist(ward.storage.database).study(STUDY)
    assert row is not None
    assert row.reviewed_at is None
    made = ward.read(seen=3, reader=BEN)
    assert (ward.versions, made.VerificationFlag) == ([1, 2, 3, 4], "VERIFIED")
    assert summary(made).startswith("Confirmed by a radiologist without correction.")
    assert "READ IN PART" not in summary(made)


def test_a_study_without_any_analysed_image_can_be_confirmed_and_added_to(ward: Ward) -> None:
    image = ward.image(1, ViewPosition="LL")
    assert ward.read(seen=1).VerificationFlag == "VERIFIED"
    made = ward.read(answer(image, "pneumothorax", "added"), seen=2)
    assert presence(made) == {"not_analysed": "", "pneumothorax": "Present"}


def test_a_reader_whose_name_the_report_cannot_hold_is_no_dead_end(ward: Ward) -> None:
    ward.image(1, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg")
    japanese = replace(BEN, person_name="山田^太郎")
    made = ward.read(seen=1, reader=japanese)
    assert made.VerifyingObserverSequence[0].VerifyingObserverName == "山田^太郎"
    assert made.PatientName == "Müller^Jörg"
    assert ward.storage.studies.show(STUDY).state is StudyState.REPORTED


def test_reviews_of_what_is_not_sent(tmp_path: Path, pacs: Pacs) -> None:
    """`send_negative = false`: a confirmed negative stays here, and a correction is sent."""
    ward = Ward(tmp_path, pacs, send_negative=False)
    ward.work(Sees(0.1))
    image = ward.image(1)
    ward.reviews.write(review(answer(image, "pneumonia", "agree"), study=STUDY), ward.now)
    ward.run(UNDO_S)
    assert ward.versions == []
    assert ward.storage.studies.show(STUDY).report_version == 2
    made = ward.read(answer(image, "pneumonia", "disagree"), seen=2, reader=BEN)
    assert (ward.versions, presence(made)["pneumonia"]) == ([3], "Present")
    made = ward.read(answer(image, "pneumonia", "agree"), seen=3)  # the PACS must know
    assert (ward.versions, presence(made)["pneumonia"]) == ([3, 4], "Absent")
    ward.courier.end()


def test_a_worker_that_dies_with_the_report_built_makes_the_same_one(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = ward.image(1)
    ward.reviews.write(review(answer(image, "pneumonia", "disagree"), study=STUDY), ward.now)
    ward.now += UNDO_S
    tried: list[str] = []

    def die(_studies: Studies, _claim: Any, made: Any, *_: Any) -> None:
        tried.append(made.sop_instance_uid)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Studies, "reported", die)
        with pytest.raises(SystemExit):
            ward.worker.step(ahead=False)
    ward.storage.queue.release_all(ward.now)
    ward.run()
    assert ward.versions == [1, 2]
    assert tried == [str(ward.last.SOPInstanceUID)]
