"""Later versions: what each has, and one that is withdrawn."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from daemon.report import ReportError, encode
from daemon.report.checks import check
from daemon.report.forms import FORMS, step_down
from daemon.report.reading import groups
from daemon.report.revisions import withdraw_report
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
IMAGE = radiograph(1)
GROUPS = ("Imaging Measurements", "Measurement Group")


@pytest.fixture
def report() -> Dataset:
    return decoded(sent((IMAGE, attended(PLACED)), (radiograph(2), LATERAL)).report)


def test_the_report_itself_is_left_as_it_was(report: Dataset) -> None:
    before = encode(report)
    withdraw_report(report, "a reason", 2, LATER)
    assert encode(report) == before


def test_an_earlier_version_is_refused(report: Dataset) -> None:
    with pytest.raises(ReportError, match="not later"):
        withdraw_report(report, "a reason", 1, LATER)


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
    one = withdraw_report(report, "one", 2, LATER)
    assert encode(one) == encode(withdraw_report(report, "one", 2, LATER))
    assert one.SOPInstanceUID != withdraw_report(report, "two", 2, LATER).SOPInstanceUID


@pytest.mark.parametrize("form", FORMS)
def test_a_withdrawal_in_every_form_has_no_error(report: Dataset, form, tmp_path) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "revision.dcm"
    file.write_bytes(encode(step_down(withdraw_report(report, "A reason.", 2, LATER), form)))
    assert dciodvfy(file) == []
