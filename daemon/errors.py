"""What can go wrong in the service. Each docstring is the default message."""

from __future__ import annotations


class DaemonError(Exception):
    """The service failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SettingsError(DaemonError):
    """The configuration file cannot be used."""


class CannotListen(DaemonError):
    """The DICOM port cannot be opened."""


class CertificateUnusable(DaemonError):
    """A certificate, its key or its authorities cannot be used."""


class CannotIssue(DaemonError):
    """A certificate cannot be made."""


class NoStudy(DaemonError):
    """The object has no Study Instance UID, so that no report can name its study."""


class EndedProcess(DaemonError):
    """Each time a worker took this image, its process ended."""


class PeerUnreachable(DaemonError):
    """The peer did not accept an association."""


class PeerMisbehaved(DaemonError, OSError):
    """The peer sent what no DICOM peer may send."""


class CannotStepDown(DaemonError):
    """The report cannot be put into the form that the PACS takes."""


class WrongTiming(DaemonError):
    """A schedule's timing cannot be used."""


class CanaryLost(DaemonError):
    """The canary did not come through, or not as it is known."""
