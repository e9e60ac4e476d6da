"""The DICOM port, and the PACS that reports go to."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from daemon.settings.names import AeTitle, Caller
from daemon.settings.section import Section
from daemon.settings.tls import DicomTls, PacsTls


class DicomSettings(Section):
    """The DICOM port that modalities and the PACS send to."""

    ae_title: AeTitle = Field("HILUM", description="Our AE title, as callers must name it.")
    bind: str = Field("0.0.0.0", description="IP address to listen on.")
    port: int = Field(11112, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    allowed_callers: tuple[Caller, ...] = Field(
        ("*@*",), description="Who may open an association: AE title @ address or network."
    )
    listeners: int = Field(
        1,
        ge=1,
        le=8,
        description="Processes that listen, on one port; each has its part of the limits below.",
    )
    max_associations: int = Field(
        20, ge=1, le=200, description="Associations at a time; more are rejected at once."
    )
    max_associations_per_address: int | None = Field(
        None,
        ge=1,
        le=200,
        description="Associations at a time of one address; without one, three"
        " quarters of max_associations.",
    )
    max_connections: int = Field(
        128,
        ge=8,
        le=512,  # pynetdicom's select knows 1024 descriptors
        description="Connections at a time that have not asked for an"
        " association yet, a quarter of them of one address; more are closed at once.",
    )
    request_timeout_s: float = Field(
        10.0,
        ge=0.5,
        le=120,
        description="How long a connection has for the TLS handshake and the"
        " request for an association together.",
    )
    max_pdu_bytes: int = Field(
        1 << 20, ge=16384, le=1 << 24, description="Largest PDU that we take, in bytes."
    )
    idle_timeout_s: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="An association with no message for so long is aborted; a"
        " PDU must have come whole, and ours been taken, within it.",
    )
    max_message_bytes: int = Field(
        1 << 27, ge=1 << 20, le=1 << 30, description="Largest message, so largest image, in bytes."
    )
    message_timeout_s: float = Field(
        300.0, ge=1, le=86400, description="How long a message may take to come whole."
    )
    max_receiving_bytes: int = Field(
        1 << 29,
        ge=1 << 20,
        le=1 << 36,
        description="Bytes of messages that are coming in, over"
        " all associations; one that goes beyond is aborted.",
    )
    max_association_bytes: int = Field(
        1 << 36, ge=1 << 20, description="Bytes that one association may bring."
    )
    association_timeout_s: float = Field(
        14400.0,
        ge=1,
        le=604800,
        description="How long an association may last; it is aborted between two messages.",
    )
    max_waiting: int = Field(
        100_000,
        ge=1,
        le=10_000_000,
        description="Images waiting for a worker from which on further ones are refused (A700H).",
    )
    tls: DicomTls = Field(None, description="DICOM TLS, a table; false is without.")

    @model_validator(mode="after")
    def _one_port(self) -> Self:
        if self.listeners > 1 and self.port == 0:
            raise ValueError("several listeners need a port that is named: port is 0")
        return self

    @property
    def most_of_one_address(self) -> int:
        """Associations at a time of one address."""
        whole = self.max_associations
        return self.max_associations_per_address or whole - whole // 4

    @property
    def share(self) -> Self:
        """What is one listener's part of the limits."""

        def part(whole: int) -> int:
            return max(1, whole // self.listeners)

        return self.model_copy(
            update={
                "max_associations": part(self.max_associations),
                "max_associations_per_address": part(self.most_of_one_address),
                "max_connections": part(self.max_connections),
                "max_receiving_bytes": part(self.max_receiving_bytes),
            }
        )


class PacsSettings(Section):
    """A PACS that the reports go to."""

    name: str = Field(description="Our name for it.", pattern=r"^[A-Za-z0-9_-]{1,32}$")
    ae_title: AeTitle = Field(description="Its AE title.")
    host: str = Field(description="Its address or host name.", min_length=1)
    port: int = Field(ge=1, le=65535, description="Its TCP port.")
    tls: PacsTls = Field(
        None, description="DICOM TLS: true takes the files of dicom.tls; or a table."
    )
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

    @property
    def tls_name(self) -> str:
        """The name that its certificate must have."""
        return (self.tls and self.tls.server_name) or self.host
