"""A finding whose probabilities do not hold: the report marks it, and it flags or does not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from daemon.report.document import build_report
from daemon.report.forms import sentence
from daemon.report.objects import encode
from daemon.report.reading import children, codes, groups
from storage.queue import Queue
from storage.records import Doubt, Finding, Result, ResultStatus
from tests.reporting import ANALYSED, CREATED_AT, DEVICE, FINDINGS
from tests.reporting import study as study_of
from tests.storing import arrival, open_storage

MARKED, STOPPED = Doubt.MARKED, Doubt.STOPPED


def doubted(doubt: Doubt | None) -> Result:
    """Pneumonia reaches its threshold, infiltration does not; both are in doubt."""
    findings = [dataclasses.replace(one, doubt=doubt) for one in FINDINGS[:2]]
    return dataclasses.replace(ANALYSED, findings=(*findings, *FINDINGS[2:]))
