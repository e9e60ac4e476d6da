"""The hold-out: drawn by patient at the first label, never learnt from, drawn anew by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import update

from storage.audit import Audit, AuditQuery
from storage.errors import Refused
from storage.headers import Headers, ImageHeader, StudyHeader
from storage.holdout import Holdouts, patient_key
from storage.labelled import Labelled, ReportLabel, UnknownAccessions
from storage.retention import Retention
from storage.reviews import Reviews
from storage.schema import holdout_patient
from tests.reviewing import ANNA, BEN, STUDY, answer, report_all, review, write
from tests.storing import Storage, analysed, arrival, open_storage

IDS = [patient_key(f"P{n}", "", "") for n in range(400)]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def give(storage: Storage, uid: str, study: str, patient: str, accession: str) -> None:
    """Take an image with a header through the queue."""
    storage.queue.accept(arrival(uid))
    job = storage.queue.claim("w1", 60, 1.0)
    assert job is not None
    header = StudyHeader(patient_id=patient, accession_number=accession, station="CR1")
    storage.queue.finish(job, analysed(), study, 0, 1.0, Headers(header, ImageHeader()))


def test_about_the_share_is_held_out_and_it_stays_so(storage: Storage) -> None:
    holdouts = Holdouts(storage.database)
    first = holdouts.draw(IDS, 1.0)
    assert 80 <= sum(first.values()) <= 160  # of 400, with 0.3: four deviations
    assert holdouts.draw(reversed(IDS), 2.0) == first
    found = holdouts.show()
    assert found is not None
    assert (found.share, found.held_out, found.trained) == (0.3, sum(first.values()), 0)


def test_a_patient_is_drawn_once_whatever_his_studies(storage: Storage) -> None:
    give(storage, "1.1", "9.9", "P1", "A1")
    give(storage, "1.2", "9.8", "P1", "A2")
    for number in ("A1", "A2"):
        Labelled(storage.database).import_reports([ReportLabel(number, "pneumonia", True)], "a", 2)
    assert list(Holdouts(storage.database).members()) == [patient_key("P1", "", "9.9")]


def test_a_review_draws_its_patient_when_it_takes_effect(storage: Storage) -> None:
    give(storage, "1.1", STUDY, "P1", "A1")
    report_all(storage, 2.0)
    write(storage, review(answer("1.1", "pneumonia", "agree")), 3.0)
    holdouts = Holdouts(storage.database)
    assert holdouts.members() == {}
    Reviews(storage.database).take_effect(20.0)
    assert list(holdouts.members()) == [patient_key("P1", "", STUDY)]


def test_who_is_unsure_labels_nothing_and_draws_nobody(storage: Storage) -> None:
    give(storage, "1.1", STUDY, "P1", "A1")
    report_all(storage, 2.0)
    write(storage, review(answer("1.1", "pneumonia", "unsure")), 3.0)
    Reviews(storage.database).take_effect(20.0)
    assert Holdouts(storage.database).members() == {}


def test_nobody_held_out_is_learnt_from(storage: Storage) -> None:
    holdouts = Holdouts(storage.database)
    drawn = holdouts.draw(IDS, 1.0)
    held = [one for one, out in drawn.items() if out]
    with pytest.raises(Refused, match="held out meanwhile"):
        holdouts.note_trained(IDS, 2.0)
    assert holdouts.trained() == frozenset()  # all of it or nothing
    with pytest.raises(Exception, match="refused a statement"), storage.database.write() as c:
        c.execute(
            update(holdout_patient)
            .where(holdout_patient.c.patient == held[0])
            .values(trained_at=3.0)
        )


def test_drawn_anew_it_holds_nobody_who_was_learnt_from(storage: Storage) -> None:
    holdouts = Holdouts(storage.database)
    before = holdouts.draw(IDS, 1.0)
    learnt = [one for one, out in before.items() if not out][:150]
    holdouts.note_trained(learnt, 2.0)
    with pytest.raises(Refused, match="reason is needed"):
        holdouts.refresh("ada", " ", 3.0)
    with pytest.raises(Refused, match="above 0 and below 1"):
        holdouts.refresh("ada", "a new scanner", 3.0, 1.0)
    assert holdouts.members() == before
    found = holdouts.refresh("ada", "a new scanner", 3.0, 0.5)
    after = holdouts.members()
    assert not any(after[one] for one in learnt)
    assert {one for one, out in after.items() if out} != {one for one, out in before.items() if out}
    assert (found.actor, found.reason, found.trained) == ("ada", "a new scanner", 150)
    (row,) = Audit(storage.database).search(AuditQuery(), 10)
    assert (row.actor, row.action) == ("ada", "holdout.refreshed")


def test_unknown_accession_numbers_are_listed_and_nothing_is_imported(storage: Storage) -> None:
    give(storage, "1.1", "9.1", "P1", "A1")
    give(storage, "1.2", "9.2", "P2", "A2")
    give(storage, "1.3", "9.3", "P3", "A2")
    labelled = Labelled(storage.database)
    lines = [ReportLabel(number, "pneumonia", True) for number in ("A1", "A2", "X7", "X8")]
    with pytest.raises(UnknownAccessions) as told:
        labelled.import_reports(lines, "ada", 2.0)
    assert (told.value.unknown, told.value.ambiguous) == (("X7", "X8"), ("A2",))
    assert "X7, X8" in str(told.value)
    assert labelled.images() == []
    assert Holdouts(storage.database).members() == {}


def test_an_import_says_the_last_word_of_a_report_and_readers_stand_beside(
    storage: Storage,
) -> None:
    give(storage, "1.1", STUDY, "P1", "A1")
    report_all(storage, 2.0)
    labelled = Labelled(storage.database)
    assert labelled.import_reports([ReportLabel("A1", "pneumonia", True)], "ada", 3.0).studies == 1
    again = labelled.import_reports([ReportLabel("A1", "pneumonia", False)], "ada", 4.0)
    assert again.changed == 1
    write(storage, review(answer("1.1", "pneumonia", "agree")), 5.0)
    report_all(storage, 20.0)
    seen = review(answer("1.1", "pneumonia", "disagree"), reader=BEN, seen=2)
    write(storage, seen, 21.0)
    Reviews(storage.database).take_effect(40.0)
    (image,) = labelled.images()
    assert image.report == {"pneumonia": False}
    assert image.readers == {"pneumonia": (True, False)}
    assert (image.kept, image.station, ANNA.login) == (True, "CR1", "anna")


def test_labelled_images_are_kept_when_others_go(storage: Storage) -> None:
    give(storage, "1.1", "9.1", "P1", "A1")
    give(storage, "1.2", "9.2", "P2", "A2")
    Labelled(storage.database).import_reports([ReportLabel("A1", "pneumonia", True)], "a", 2)
    report_all(storage, 2.0)
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE delivery SET state = 'stored'")
    retention = Retention(storage.database)
    assert retention.begin(100.0, 10) == [arrival("1.2").sha256]
    retention.end([arrival("1.2").sha256])
    assert retention.begin(100.0, 10, labelled_before=0.0) == []
    assert retention.begin(100.0, 10, labelled_before=100.0) == [arrival("1.1").sha256]
    (image,) = Labelled(storage.database).images()
    assert not image.kept
