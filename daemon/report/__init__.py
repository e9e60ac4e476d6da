"""The report: one Comprehensive SR per study, TID 1500 (PS3.16), and its readable text."""

from daemon.report.content import Device
from daemon.report.document import build_report, encode
from daemon.report.errors import HeaderUnreadable, ReportError
from daemon.report.header import read_header
from daemon.report.text import render_text

__all__ = [
    "Device",
    "HeaderUnreadable",
    "ReportError",
    "build_report",
    "encode",
    "read_header",
    "render_text",
]
