"""Reports as radiologists have confirmed or corrected them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from daemon.contexts import SECONDARY_CAPTURE
from daemon.report import encode
from daemon.report.checks import check
from daemon.report.codes import Code
from daemon.report.forms import FORMS, step_down
from daemon.report.reading import groups
from daemon.report.readings import repeat_reviews, say_reviews
from daemon.report.said import Reviewer, Said, Word
from tests.reporting import (
    CREATED_AT,
    LATERAL,
    PLACED,
    attended,
    content,
    dciodvfy,
    decoded,
    radiograph,
    sent,
)

LATER = CREATED_AT + 3600
ANNA = Reviewer("Müller^Anna^^Dr.", "Hôpital", "anna")
BEN = Reviewer("Okafor^Ben", "", "ben")
IMAGE, LATERAL_IMAGE = radiograph(1), radiograph(2)
GROUPS = ("Imaging Measurements", "Measurement Group")
PNEUMONIA = Code("233604007", "SCT", "Pneumonia")
INFILTRATE = Code("112121", "DCM", "Infiltrate")
PNEUMOTHORAX = Code("36118008", "SCT", "Pneumothorax")
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.fixture
def report() -> Dataset:
    return decoded(sent((IMAGE, attended(PLACED)), (LATERAL_IMAGE, LATERAL)).report)


def uid() -> str:
    return str(IMAGE.SOPInstanceUID)


def word(finding: str, code: Code, present: bool | None, image: str = "") -> Word:
    return Word(image or uid(), finding, code, present)


def said(*words: Word, reviewer: Reviewer = ANNA, note: str = "") -> Said:
    return Said(reviewer, LATER, words, note)


NO_PNEUMONIA = word("pneumonia", PNEUMONIA, False)
PNEUMONIA_YES = word("pneumonia", PNEUMONIA, True)
INFILTRATION = word("infiltration", INFILTRATE, True)
ADDED = word("pneumothorax", PNEUMOTHORAX, True)
UNSURE = word("atelectasis", Code("46621007", "SCT", "Atelectasis"), None)


def read(report: Dataset, *reviews: Said, version: int = 2, verifies: bool = True) -> Dataset:
    before = str(report.SOPInstanceUID) if version == 2 else "2.25.7"
    made = say_reviews(report, reviews, version, before, LATER + 10, verifies=verifies)
    check(encode(made))
    return made


def summary(made: Dataset) -> str:
    return str(content(made, "Summary")[0].TextValue)


def test_a_confirmation_is_verified_and_final(report: Dataset) -> None:
    made = read(report, said(PNEUMONIA_YES))
    assert (made.VerificationFlag, made.PreliminaryFlag) == ("VERIFIED", "FINAL")
    assert made.CompletionFlag == "COMPLETE"
    (observer,) = made.VerifyingObserverSequence
    assert observer.VerifyingObserverName == ANNA.name
    assert observer.VerifyingOrganization == ANNA.organization
    before = made.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert before.SeriesInstanceUID == report.SeriesInstanceUID == made.SeriesInstanceUID
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report.SOPInstanceUID
    assert (made.InstanceNumber, report.InstanceNumber) == (2, 1)
    assert groups(made) == groups(report)
    assert summary(made).startswith("Confirmed by a radiologist without correction. The computer")
    assert "verified by a radiologist" in content(made, "Comment")[0].TextValue
    assert "not been verified" not in str(made)


def test_the_report_itself_is_left_as_it_was(report: Dataset) -> None:
    before = encode(report)
    read(report, said(NO_PNEUMONIA, ADDED, UNSURE, note="Sehr klein: ü"))
    assert encode(report) == before


def test_a_correction_takes_the_place_of_what_the_computer_said(report: Dataset) -> None:
    made = read(report, said(NO_PNEUMONIA, INFILTRATION))
    first, second = content(made, *GROUPS)[:2]
    assert [group.presence for group in groups(made)[:2]] == ["Absent", "Present"]
    assert groups(made)[0].probability == groups(report)[0].probability  # the computer's stays
    assert not content(first, "Image Region")
    assert not content(first, "Visual explanation")
    assert first.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert content(first, "Source of Measurement")
    assert content(second, "Presence", "Person Observer Name")[0].PersonName == ANNA.name
    assert "reported present" in content(first, "Comment")[0].TextValue
    assert summary(made).startswith(
        "Corrected by a radiologist: Pneumonia absent (reported present); "
        "Infiltrate present (reported absent). The computer had reported: 1 of 2 images"
    )
    assert groups(made)[2:] == groups(report)[2:]


@pytest.mark.parametrize("image", [IMAGE, LATERAL_IMAGE])
def test_a_missed_finding_gets_a_group_of_its_own(report: Dataset, image: Dataset) -> None:
    where = str(image.SOPInstanceUID)
    made = read(report, said(word("pneumothorax", PNEUMOTHORAX, True, where)))
    assert groups(made)[:-1] == groups(report)
    added = groups(made)[-1]
    assert (added.name, added.finding, added.presence) == (
        "pneumothorax", "Pneumothorax", "Present",
    )  # fmt: skip
    assert added.source is not None
    assert added.source.sop_instance_uid == where
    assert added.probability is None
    assert len({group.tracking_uid for group in groups(made)}) == len(groups(made))
    (item,) = content(made, *GROUPS)[-1:]
    assert content(item, "Finding Site")[0].ConceptCodeSequence[0].CodeMeaning == "Pleura"
    assert content(item, "Presence", "Person Observer Name")[0].PersonName == ANNA.name
    assert summary(made).startswith("Corrected by a radiologist: Pneumothorax added.")


def test_a_missed_finding_of_an_image_that_nothing_can_refer_to(report: Dataset) -> None:
    made = read(report, said(word("pneumothorax", PNEUMOTHORAX, True, "1.2.3")))
    added = groups(made)[-1]
    assert added.source is None
    assert "in image 1.2.3" in added.comments[0]


def test_what_a_reader_is_unsure_of_stays_as_reported_and_says_so(report: Dataset) -> None:
    made = read(report, said(UNSURE))
    before, after = groups(report)[2], groups(made)[2]
    assert after.presence == before.presence == "Absent"
    assert after.comments == ("A radiologist is unsure of this.",)
    assert summary(made).startswith(
        "Confirmed by a radiologist without correction. Unsure of: Atelectasis. The computer"
    )


def test_a_note_stands_in_the_report_with_its_author(report: Dataset) -> None:
    made = read(report, said(note="Kontrolle in 6 Wochen, Größe unverändert"))
    note = content(made, "Comment")[1]
    assert note.TextValue == "By a radiologist: Kontrolle in 6 Wochen, Größe unverändert"
    assert content(note, "Person Observer Name")[0].PersonName == ANNA.name


def test_the_second_reader_has_the_last_word_and_the_first_is_named(report: Dataset) -> None:
    first = said(NO_PNEUMONIA, ADDED)
    second = said(PNEUMONIA_YES, word("pneumothorax", PNEUMOTHORAX, False), reviewer=BEN)
    made = read(report, first, second, version=3)
    assert [groups(made)[0].presence, groups(made)[-1].presence] == ["Present", "Absent"]
    assert made.VerifyingObserverSequence[0].VerifyingObserverName == BEN.name
    assert made.VerifyingObserverSequence[0].VerifyingOrganization == "Not stated"
    assert "Pneumonia present (a radiologist had said absent)" in summary(made)
    assert "Before that: Corrected by a radiologist: Pneumonia absent" in summary(made)
    before = made.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.7"


def test_a_review_of_less_than_the_version_shows_does_not_verify_it(report: Dataset) -> None:
    made = read(report, said(NO_PNEUMONIA), verifies=False)
    assert (made.VerificationFlag, made.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert "VerifyingObserverSequence" not in made
    assert summary(made).startswith("READ IN PART")
    assert "A radiologist has read a part" in content(made, "Comment")[0].TextValue
    assert groups(made)[0].presence == "Absent"


def test_a_report_of_new_results_repeats_what_was_said_and_can_be_verified() -> None:
    again = repeat_reviews(
        decoded(sent((IMAGE, attended(PLACED)), version=3, before="2.25.8").report),
        [said(NO_PNEUMONIA, note="Seen")],
    )
    check(encode(again))
    assert again.VerificationFlag == "UNVERIFIED"
    assert again.InstanceNumber == 3
    assert groups(again)[0].presence == "Absent"
    assert summary(again).startswith("READ IN PART")
    made = read(again, said(reviewer=BEN), version=4)
    assert summary(made).startswith("Confirmed by a radiologist without correction. The computer")
    assert "READ IN PART" not in summary(made)
    assert groups(made)[0].presence == "Absent"
    assert content(made, "Comment")[1].TextValue == "By a radiologist: Seen"


def test_a_report_without_reviews_is_left_alone(report: Dataset) -> None:
    assert repeat_reviews(report, []) is report


def test_the_same_review_is_the_same_object(report: Dataset) -> None:
    one, two = said(NO_PNEUMONIA), said(NO_PNEUMONIA, reviewer=BEN)
    assert encode(read(report, one)) == encode(read(report, one))
    assert len({str(read(report, x).SOPInstanceUID) for x in (one, two, said())}) == 3


# -- character sets ---------------------------------------------------------------------------


def of(character_set: object, name: str) -> Dataset:
    image = radiograph(1, SpecificCharacterSet=character_set, PatientName=name)
    return decoded(sent((image, attended(PLACED))).report)


@pytest.mark.parametrize(
    ("character_set", "patient", "reviewer", "written", "now"),
    [
        ("ISO_IR 100", "Müller^Jörg", JAPANESE, "Yamada^Tarou", "ISO_IR 100"),
        ("ISO_IR 100", "Müller^Jörg", "山田^太郎", "山田^太郎", "ISO_IR 192"),
        ("ISO_IR 144", "Люкceмбypг", "Müller^Anna", "Müller^Anna", "ISO_IR 192"),
        ("ISO_IR 192", JAPANESE, "Müller^Anna", "Müller^Anna", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], JAPANESE, JAPANESE, JAPANESE, ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 87"], JAPANESE, "Łukasz^Jan", "Łukasz^Jan", "ISO_IR 192"),
        (..., "Demo^Plain", "Müller^Anna", "Müller^Anna", "ISO_IR 192"),
        (..., "Demo^Plain", "", "anna", None),
    ],
)
def test_a_reviewer_is_never_turned_away_for_a_name(
    character_set: object, patient: str, reviewer: str, written: str, now: object, tmp_path: Path
) -> None:
    report = of(character_set, patient)
    person = Reviewer(reviewer, "Hospital", "anna")
    made = read(report, said(ADDED, INFILTRATION, reviewer=person))
    assert str(made.VerifyingObserverSequence[0].VerifyingObserverName) == written
    declared = made.get("SpecificCharacterSet")
    assert (declared if isinstance(declared, str | None) else list(declared)) == now
    file = tmp_path / "report.dcm"
    file.write_bytes(encode(made))
    again = decoded_file(file)
    assert again.PatientName == patient
    assert again.VerifyingObserverSequence[0].VerifyingObserverName == written
    assert dciodvfy(file) == []
    assert_dcmtk_reads(file)


def test_a_patient_whose_name_cannot_be_read_for_sure_keeps_its_bytes() -> None:
    image = radiograph(1, SpecificCharacterSet="ISO_IR 192")
    report = decoded(sent((image, attended(PLACED))).report)
    report.SpecificCharacterSet = "ISO_IR 6"
    damaged = decoded_bytes(encode(report).replace(b"Demo", b"D\xc3mo"))
    made = read(damaged, said(note="Größe 山", reviewer=Reviewer("Łukasz^Ångström", "", "lu")))
    assert made.get("SpecificCharacterSet") == "ISO_IR 6"
    assert str(made.VerifyingObserverSequence[0].VerifyingObserverName) == "ukasz^Angstrom"
    assert content(made, "Comment")[1].TextValue == "By a radiologist: Groe "
    assert made.PatientName.original_string == damaged.PatientName.original_string


def decoded_file(file: Path) -> Dataset:
    return decoded_bytes(file.read_bytes())


def decoded_bytes(content: bytes) -> Dataset:
    from daemon.report.study import Encoded

    return decoded(Encoded("", "", content))


def assert_dcmtk_reads(file: Path) -> None:
    done = subprocess.run(["dsrdump", str(file)], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"E:" not in done.stderr, done.stderr.decode()


@pytest.mark.parametrize("form", FORMS)
def test_a_reading_in_every_form_has_no_error(
    report: Dataset, form: object, tmp_path: Path
) -> None:
    readings = [
        read(report, said()),
        read(report, said(NO_PNEUMONIA, ADDED, UNSURE, note="Größe")),
        read(report, said(NO_PNEUMONIA), said(PNEUMONIA_YES, reviewer=BEN), version=3),
        read(report, said(NO_PNEUMONIA), verifies=False),
        read(report, said(word("edema", PNEUMOTHORAX, None))),
        repeat_reviews(decoded(sent((IMAGE, attended(PLACED))).report), [said(ADDED, note="x")]),
    ]
    file = tmp_path / "reading.dcm"
    for made in readings:
        file.write_bytes(encode(step_down(made, form)))  # type: ignore[arg-type]
        assert dciodvfy(file) == []
        if form != SECONDARY_CAPTURE:
            assert_dcmtk_reads(file)
