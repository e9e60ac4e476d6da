"""Later versions: confirmed, corrected or withdrawn."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from daemon.report import ReportError, encode
from daemon.report.checks import check
from daemon.report.forms import FORMS, step_down
from daemon.report.reading import groups
from daemon.report.revisions import Correction, Reviewer, verify_report, withdraw_report
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
REVIEWER = Reviewer("Müller^Anna^^Dr.", "Hôpital")
IMAGE = radiograph(1)
GROUPS = ("Imaging Measurements", "Measurement Group")


@pytest.fixture
def report() -> Dataset:
    return decoded(sent((IMAGE, attended(PLACED)), (radiograph(2), LATERAL)).report)


def uid() -> str:
    return str(IMAGE.SOPInstanceUID)


def test_a_confirmation_is_verified_and_final(report: Dataset) -> None:
    made = verify_report(report, REVIEWER, 2, LATER)
    check(encode(made))
    assert (made.VerificationFlag, made.PreliminaryFlag) == ("VERIFIED", "FINAL")
    assert made.CompletionFlag == "COMPLETE"
    (observer,) = made.VerifyingObserverSequence
    assert observer.VerifyingObserverName == REVIEWER.name
    assert observer.VerifyingOrganization == REVIEWER.organization
    before = made.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert before.SeriesInstanceUID == report.SeriesInstanceUID == made.SeriesInstanceUID
    assert before.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == report.SOPInstanceUID
    assert (made.InstanceNumber, report.InstanceNumber) == (2, 1)
    assert groups(made) == groups(report)
    assert content(made, "Summary")[0].TextValue.startswith("Confirmed by a radiologist")
    assert "verified by a radiologist" in content(made, "Comment")[0].TextValue
    assert "not been verified" not in str(made)


def test_the_report_itself_is_left_as_it_was(report: Dataset) -> None:
    before = encode(report)
    verify_report(report, REVIEWER, 2, LATER, [Correction(uid(), "pneumonia", False)])
    withdraw_report(report, "a reason", 2, LATER)
    assert encode(report) == before


def test_a_correction_takes_the_place_of_what_the_computer_said(report: Dataset) -> None:
    wrong = [Correction(uid(), "pneumonia", False), Correction(uid(), "infiltration", True)]
    made = verify_report(report, REVIEWER, 2, LATER, wrong)
    check(encode(made))
    first, second = content(made, *GROUPS)[:2]
    assert [group.presence for group in groups(made)[:2]] == ["Absent", "Present"]
    assert groups(made)[0].probability == groups(report)[0].probability  # the computer's stays
    assert not content(first, "Image Region")
    assert not content(first, "Visual explanation")
    assert first.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert content(first, "Source of Measurement")
    assert content(second, "Presence", "Person Observer Name")[0].PersonName == REVIEWER.name
    assert "reported present" in content(first, "Comment")[0].TextValue
    summary = content(made, "Summary")[0].TextValue
    assert summary.startswith("Corrected by a radiologist: Pneumonia absent (reported present)")
    assert groups(made)[2:] == groups(report)[2:]


@pytest.mark.parametrize("wrong", [("1.2.3", "pneumonia"), (uid(), "fracture"), (uid(), "")])
def test_a_correction_of_nothing_is_refused(report: Dataset, wrong: tuple[str, str]) -> None:
    with pytest.raises(ReportError, match="has no finding"):
        verify_report(report, REVIEWER, 2, LATER, [Correction(*wrong, present=True)])


@pytest.mark.parametrize("name", ["", "山田^太郎"])
def test_a_name_that_the_character_set_lacks_is_refused(name: str) -> None:
    image = radiograph(1, SpecificCharacterSet="ISO_IR 100")
    report = decoded(sent((image, attended(PLACED))).report)
    with pytest.raises(ReportError, match="character set"):
        verify_report(report, Reviewer(name, "Hospital"), 2, LATER)
    assert verify_report(report, REVIEWER, 2, LATER).VerifyingObserverSequence


def test_an_earlier_version_is_refused(report: Dataset) -> None:
    with pytest.raises(ReportError, match="not later"):
        verify_report(report, REVIEWER, 1, LATER)


def test_a_withdrawal_says_so_first_and_has_no_results(report: Dataset) -> None:
    made = withdraw_report(report, "The model was found to be wrong.", 2, LATER)
    check(encode(made))
    summary = content(made, "Summary")[0].TextValue
    assert summary.startswith("WITHDRAWN: the results of version 1 do not hold. The model")
    assert (made.VerificationFlag, made.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert {group.finding for group in groups(made)} == {""}
    assert {group.source.sop_instance_uid for group in groups(made) if group.source} == {
        group.source.sop_instance_uid for group in groups(report) if group.source
    }
    for item in content(made, *GROUPS):
        assert content(item, "Reason not analysed")[0].ConceptCodeSequence[0].CodeValue == (
            "withdrawn"
        )
        assert "found to be wrong" in content(item, "Comment")[0].TextValue
    assert content(made, "Image Library")
    with pytest.raises(ReportError, match="reason"):
        withdraw_report(report, "  ", 2, LATER)


def test_the_same_revision_is_the_same_object(report: Dataset) -> None:
    assert encode(verify_report(report, REVIEWER, 2, LATER)) == encode(
        verify_report(report, REVIEWER, 2, LATER)
    )
    one = withdraw_report(report, "one", 2, LATER).SOPInstanceUID
    assert one != withdraw_report(report, "two", 2, LATER).SOPInstanceUID


def test_every_revision_in_every_form_has_no_error(report: Dataset, tmp_path) -> None:  # type: ignore[no-untyped-def]
    revisions = [
        verify_report(report, REVIEWER, 2, LATER),
        verify_report(report, REVIEWER, 2, LATER, [Correction(uid(), "pneumonia", False)]),
        withdraw_report(report, "A reason.", 2, LATER),
    ]
    file = tmp_path / "revision.dcm"
    for made in revisions:
        for form in FORMS:
            file.write_bytes(encode(step_down(made, form)))
            assert dciodvfy(file) == []
