"""DICOM TLS: our certificate, whose certificates we take, and which AE title has which."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from daemon.settings.names import AeTitle
from daemon.settings.section import Section

FINGERPRINT = re.compile(r"sha256:([0-9a-f]{2}:?){31}[0-9a-f]{2}", re.IGNORECASE)


def _certificate(value: str) -> str:
    if value.lower().startswith("sha256:"):
        if not FINGERPRINT.fullmatch(value):
            raise ValueError("a fingerprint is sha256: and 64 hexadecimal digits")
        return value.lower().replace(":", "").replace("sha256", "sha256:", 1)
    return value


def _table(value: Any) -> Any:
    if value is False:
        return None
    if value is True:
        raise ValueError("a table is needed here, with certificate, key and ca")
    return value


class TlsPeerSettings(Section):
    """Which certificate an AE title comes with."""

    ae_title: AeTitle = Field(description="The calling AE title.")
    certificate: Annotated[str, AfterValidator(_certificate)] = Field(
        description="sha256: and the certificate's fingerprint; or a name in it: its common name,"
        " or a DNS name, URI or address of its subject alternative names.",
        min_length=1,
        max_length=255,
    )


class DicomTlsSettings(Section):
    """TLS at the DICOM port."""

    certificate: Path = Field(description="Our certificate and its chain, a PEM file.")
    key: Path = Field(description="Its private key, a PEM file that only the service can read.")
    ca: Path = Field(description="Authorities whose certificates callers come with, a PEM file.")
    client_certificate: Literal["required", "optional"] = Field(
        "required",
        description="Whether a caller must have a certificate. With optional, an AE title that is"
        " under peers must all the same.",
    )
    peers: tuple[TlsPeerSettings, ...] = Field(
        (),
        description="Which certificate an AE title comes with. One that is not here must be a name"
        " in its certificate.",
    )


class PacsTlsSettings(Section):
    """TLS to a PACS. What is not said is taken from dicom.tls; `tls = true` takes all from it."""

    ca: Path = Field(description="Authorities that the PACS's certificate may be of, a PEM file.")
    certificate: Path | None = Field(None, description="Our certificate to it, a PEM file.")
    key: Path | None = Field(None, description="Its private key, a PEM file.")
    server_name: str | None = Field(
        None, description="Name in the PACS's certificate, where that is not host.", min_length=1
    )

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        return self


DicomTls = Annotated[DicomTlsSettings | None, BeforeValidator(_table)]
PacsTls = Annotated[PacsTlsSettings | None, BeforeValidator(_table)]


def with_own_files(tls: Any, own: Any) -> Any:
    """Return the table of a PACS with what it leaves out taken from ours.

    Raises ValueError where it is `true` and we have none.
    """
    if tls is True and not isinstance(own, dict):
        raise ValueError("pacs.tls = true takes the files of [dicom.tls], which is not there")
    given = {} if tls is True else tls
    if not isinstance(given, dict) or not isinstance(own, dict):
        return tls
    filled = {"ca": own.get("ca"), **given}
    if "certificate" not in given and "key" not in given:
        filled |= {key: own.get(key) for key in ("certificate", "key")}
    return filled
