"""The report: one Comprehensive SR per study, TID 1500 (PS3.16), and its readable text."""

from daemon.report.document import build_report
from daemon.report.errors import HeaderUnreadable, ReportError, ReportInvalid
from daemon.report.header import read_header
from daemon.report.objects import encode
from daemon.report.subject import Device
from daemon.report.text import render_text

__all__ = [
    "Device",
    "HeaderUnreadable",
    "ReportError",
    "ReportInvalid",
    "build_report",
    "encode",
    "read_header",
    "render_text",
]
