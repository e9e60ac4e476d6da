"""What can go wrong with a report. Each docstring is the default message."""

from __future__ import annotations

from daemon.errors import DaemonError


class ReportError(DaemonError):
    """The report could not be built."""


class HeaderUnreadable(ReportError):
    """The header of the DICOM file cannot be read."""
