"""The audit trail, and the collector that gets a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from daemon.settings.section import Section


class AuditSettings(Section):
    """Where audit messages go (DICOM PS3.15 A.5 and A.6: syslog over TLS)."""

    host: str | None = Field(
        None, description="Name or address of the collector; without one nothing is sent."
    )
    port: int = Field(6514, ge=1, le=65535, description="Its TCP port.")
    ca: Path | None = Field(
        None,
        description="PEM file of the authorities that its certificate may be of; without one, the"
        " system's.",
    )
    certificate: Path | None = Field(
        None, description="Our certificate chain, a PEM file, where the collector asks for one."
    )
    key: Path | None = Field(
        None, description="Its private key, a PEM file that only the service can read."
    )
    patient_id: bool = Field(
        False,
        description="Whether messages about a study name its patient's ID, as the standard asks;"
        " without it they name the study alone.",
    )
    site: str | None = Field(
        None, description="AuditEnterpriseSiteID of each message.", min_length=1, max_length=64
    )
    check_days: int = Field(
        7, ge=1, le=365, description="Days between two checks of the whole trail."
    )

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self
