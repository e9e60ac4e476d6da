"""The canary: a test image that a schedule sends through the whole way."""

from __future__ import annotations

from pydantic import Field

from daemon.settings.names import AeTitle
from daemon.settings.section import Section


class CanarySettings(Section):
    """The canary; it is sent where a schedule of the kind canary says so, and not by default."""

    ae_title: AeTitle = Field(
        "HILUM_CANARY",
        description="AE title that it is sent from, over the network to our own port; it has to"
        " be among dicom.allowed_callers.",
    )
    server_name: str | None = Field(
        None,
        description="Name in our own certificate, where that is not the address that we listen"
        " on; with dicom.tls.",
        min_length=1,
    )
    pacs: tuple[str, ...] = Field(
        (), description="Names of the PACS that its report goes to; none named: to all."
    )
    within_s: float = Field(
        300.0,
        ge=5,
        le=86400,
        description="It has to be found in the PACS so long after report.study_quiet_s, or it is"
        " an alarm.",
    )
