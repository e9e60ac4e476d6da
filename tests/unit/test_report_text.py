"""The report as text for a person."""

from __future__ import annotations

from daemon.report import build_report, render_text
from tests.reporting import ANALYSED, CREATED_AT, DEVICE, FINDINGS, LATERAL, header, headers, study


def test_the_text_holds_the_content_and_no_patient() -> None:
    images = (
        (header(1, PatientName="Secret^Name", PatientID="SECRET-ID"), ANALYSED),
        (header(2), LATERAL),
    )
    text = render_text(build_report(study(*images), headers(*images), DEVICE, CREATED_AT))
    assert text.startswith("Imaging Measurement Report, version 1\n")
    assert "Secret" not in text
    assert "SECRET" not in text
    for finding in FINDINGS:
        assert f"Finding: {finding.code_meaning}" in text
    assert "Probability: 0.8735" in text
    assert "Presence: Absent" in text
    assert "Vertical Pixel Spacing: 0.4 mm" in text
    assert str(LATERAL.reason) in text
    assert "not a diagnosis" in text
    assert "COMPLETE, UNVERIFIED, PRELIMINARY" in text
