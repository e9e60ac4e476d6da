"""The DICOM port, and the PACS that reports go to."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from daemon.settings.section import Section

# PS3.5 table 6.2-1, VR AE: 1 to 16 characters of the default repertoire,
# no backslash, no control character, not only spaces.
_AE_TITLE = re.compile(r"(?! +$)[ -\[\]-~]{1,16}")


def _ae_title(value: str) -> str:
    if not _AE_TITLE.fullmatch(value):
        raise ValueError(
            "an AE title has 1 to 16 printable ASCII characters without a backslash (PS3.5 6.2)"
        )
    return value.strip()


def _caller(value: str) -> str:
    title, separator, address = value.rpartition("@")
    if not separator:
        raise ValueError(
            'a caller is "AE@address", "AE@network/bits", "AE@*" or "*@*",'
            ' for instance "CR1@10.0.0.5"'
        )
    if title != "*":
        _ae_title(title)
    if address != "*":
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            raise ValueError(
                "the part after @ is an IP address, a network such as 10.0.0.0/24, or *"
            ) from None
    return value


AeTitle = Annotated[str, AfterValidator(_ae_title)]
Caller = Annotated[str, AfterValidator(_caller)]


class DicomSettings(Section):
    """The DICOM port that modalities and the PACS send to."""

    ae_title: AeTitle = Field("HILUM", description="Our AE title, as callers must name it.")
    bind: str = Field("0.0.0.0", description="IP address to listen on.")
    port: int = Field(11112, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    allowed_callers: tuple[Caller, ...] = Field(
        ("*@*",), description="Who may open an association: AE title @ address or network."
    )
    max_associations: int = Field(
        20, ge=1, le=200, description="Associations at a time; more are rejected at once."
    )
    max_pdu_bytes: int = Field(
        1 << 20, ge=16384, le=1 << 24, description="Largest PDU that we take, in bytes."
    )
    tls: Literal[False] = Field(False, description="DICOM TLS; not part of this release.")
    idle_timeout_s: float = Field(
        60.0, ge=1, le=3600, description="An association with no message for so long is aborted."
    )


class PacsSettings(Section):
    """A PACS that the reports go to."""

    name: str = Field(description="Our name for it.", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    ae_title: AeTitle = Field(description="Its AE title.")
    host: str = Field(description="Its address or host name.", min_length=1)
    port: int = Field(ge=1, le=65535, description="Its TCP port.")
    tls: Literal[False] = Field(False, description="DICOM TLS; not part of this release.")
    storage_commitment: bool = Field(
        False, description="Whether it is asked to commit to what it has stored."
    )
    commitment_timeout_s: float = Field(
        3600.0,
        ge=1,
        le=604800,
        description="How long to wait for its report on a commitment before asking again.",
    )
    timeout_s: float = Field(
        30.0, ge=1, le=600, description="How long to wait for a connection or for an answer."
    )
