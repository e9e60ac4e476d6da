"""A finding whose probabilities do not hold: the report marks it, and it flags or does not."""

from __future__ import annotations

import dataclasses
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from daemon.report import build_report, encode
from daemon.report.checks import check
from daemon.report.forms import sentence
from daemon.report.reading import groups
from storage.records import Doubt, Result
from storage.worklist import Worklist
from tests.reporting import ANALYSED, CREATED_AT, DEVICE, FINDINGS, content, header, headers, study
from tests.storing import arrival, open_storage

IN_DOUBT = "Calibration in doubt: by reviews, the probabilities of this finding do not hold here."


def doubted(doubt: Doubt | None) -> Result:
    """Pneumonia reaches its threshold, infiltration does not; both are in doubt."""
    findings = [dataclasses.replace(one, doubt=doubt) for one in FINDINGS[:2]]
    return dataclasses.replace(ANALYSED, findings=(*findings, *FINDINGS[2:3]))


def built(result: Result) -> Dataset:
    image = (header(), result)
    encoded = encode(build_report(study(image), headers(image), DEVICE, CREATED_AT))
    check(encoded)
    return dcmread(BytesIO(encoded))


def summary(report: Dataset) -> str:
    (found,) = content(report, "Summary")
    return str(found.TextValue)


def test_a_finding_that_is_marked_flags_as_before() -> None:
    report = built(doubted(Doubt.MARKED))
    pneumonia, infiltration, atelectasis = groups(report)
    assert (pneumonia.presence, infiltration.presence) == ("Present", "Absent")
    assert pneumonia.comments == infiltration.comments == (IN_DOUBT,)
    assert atelectasis.comments == ()
    assert "Flagged: Pneumonia (probability 0.87" in summary(report)
    assert "Calibration in doubt, by reviews: Pneumonia, Infiltrate." in summary(report)


def test_a_finding_that_is_stopped_is_neither_flagged_nor_absent() -> None:
    report = built(doubted(Doubt.STOPPED))
    pneumonia, infiltration, _ = groups(report)
    assert (pneumonia.presence, infiltration.presence) == ("", "Absent")
    assert (pneumonia.probability, pneumonia.threshold) == (0.8735, 0.5)
    assert pneumonia.comments == (f"{IN_DOUBT} It does not flag.",)
    told = summary(report)
    assert "Nothing is flagged." in told
    assert "No finding reached" not in told
    assert "Not flagged for that reason: Pneumonia (probability 0.87, threshold 0.50)." in told
    assert "Below their thresholds: Infiltrate (0.20); Atelectasis (0.10)." in told
    assert sentence(pneumonia).startswith("Pneumonia: probability 0.87, threshold 0.50. Calibr")


def test_without_a_doubt_nothing_is_said_of_it() -> None:
    assert "doubt" not in summary(built(doubted(None)))


@pytest.mark.parametrize(("doubt", "flagged"), [(None, True), (Doubt.MARKED, True),
                                                (Doubt.STOPPED, False)])  # fmt: skip
def test_the_list_flags_what_the_report_flags(
    tmp_path: Path, doubt: Doubt | None, flagged: bool
) -> None:
    storage = open_storage(tmp_path)
    storage.queue.accept(arrival("1.2.3"))
    job = storage.queue.claim("w1", 60, 0)
    assert job is not None
    storage.queue.finish(job, doubted(doubt), "9.1", 0, 0)
    due = storage.studies.claim_due("w1", 60, 1)
    assert due is not None
    (answered,) = due.instances
    assert answered.result.findings == doubted(doubt).findings
    row = Worklist(storage.database).study("9.1")
    assert row is not None
    assert row.flagged is flagged
