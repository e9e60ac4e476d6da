"""What can go wrong with a report. Each docstring is the default message."""

from __future__ import annotations

from daemon.errors import DaemonError


class ReportError(DaemonError):
    """The report could not be built."""


class HeaderUnreadable(ReportError):
    """The header of the DICOM file cannot be read."""


class ReportInvalid(ReportError):
    """An object failed our own checks and is not sent. `faults` says what is wrong with it."""

    def __init__(self, what: str, faults: tuple[str, ...]) -> None:
        super().__init__(f"{what} fails our checks and is not sent: {'; '.join(faults)}")
        self.faults = faults
