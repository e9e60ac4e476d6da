"""One TOML file, read into frozen models that refuse what they do not know."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from daemon.errors import SettingsError
from storage.people import Role

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


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DicomSettings(_Section):
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


class StorageSettings(_Section):
    """Where objects and the database are kept."""

    root: Path = Field(Path("/var/lib/hilum"), description="Folder of everything durable.")
    database_url: str | None = Field(
        None, description="SQLAlchemy URL; without one, hilum.sqlite under root."
    )
    reserve_bytes: int = Field(
        1 << 30, ge=0, description="Free space below which no image is taken (A700H), in bytes."
    )
    retention_days: int = Field(
        30,
        ge=0,
        le=36500,
        description="Age after which the images and heat maps of an answered and delivered study"
        " are deleted, in days; 0 keeps them for ever.",
    )
    backups_kept: int = Field(
        14, ge=1, le=10000, description="Backups of the database that are kept, the newest."
    )

    @property
    def url(self) -> str:
        """The database's SQLAlchemy URL."""
        return self.database_url or f"sqlite:///{self.root / 'hilum.sqlite'}"


class ClassifierSettings(_Section):
    """The model that serves."""

    bundle: str = Field(
        "default",
        description='Folder of a model bundle, or "default"; serves until another is promoted.',
    )
    engine: Literal["auto", "int8", "bf16", "f32", "tensorflow"] = Field(
        "auto", description="Inference engine; auto takes the fastest that works here."
    )
    also_classify: tuple[Literal["secondary_capture", "for_processing"], ...] = Field(
        (), description="Kinds of image to classify beside CR and DX For Presentation."
    )
    workers: int = Field(1, ge=1, le=64, description="Worker processes.")


class ReportSettings(_Section):
    """The Structured Report."""

    study_quiet_s: float = Field(
        20.0, ge=0, le=3600, description="A study is reported when no image came for so long."
    )
    heat_map: Literal["sc", "gsps", "none"] = Field(
        "sc",
        description="Heat maps of positive findings beside the report: Secondary Captures,"
        " contours in a Grayscale Softcopy Presentation State, or none.",
    )
    send_negative: bool = Field(True, description="Whether studies with no finding are sent.")


class PacsSettings(_Section):
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


class TrainingSettings(_Section):
    """Learning from reviews; what is to run when is on the page Schedules."""

    keep_labelled_days: int = Field(
        1095,
        ge=0,
        le=36500,
        description="Age up to which labelled images are kept although retention_days have passed,"
        " in days; 0 keeps them for ever.",
    )
    gate_mean_margin: float = Field(
        0.02, gt=0, le=0.2, description="How much lower a candidate's mean AUC may be, at most."
    )
    gate_finding_margin: float = Field(
        0.05, gt=0, le=0.2, description="How much lower the AUC of one finding may be, at most."
    )
    gate_min_cases: int = Field(
        10,
        ge=5,
        le=10000,
        description="Held-out images with a finding, and without, that the gate needs.",
    )


class WebTlsSettings(_Section):
    """HTTPS."""

    certificate: Path = Field(description="Certificate chain, a PEM file.")
    key: Path = Field(description="Its private key, a PEM file that only the service can read.")


class OidcSettings(_Section):
    """Sign-in by an OpenID Connect provider; the secret comes from HILUM_OIDC_CLIENT_SECRET."""

    issuer: str = Field(description="The provider's issuer URL.", pattern=r"^https?://[^\s?#]+$")
    client_id: str = Field(description="Our name at the provider.", min_length=1)
    role_claim: str = Field("groups", description="Claim of the ID token that tells the role.")
    roles: dict[str, Role] = Field(
        description="Value of that claim to radiologist, administrator or auditor.", min_length=1
    )
    redirect_uri: str | None = Field(
        None,
        description="Address of /sign-in/callback as browsers see it, as the provider knows it;"
        " without one, made of the request's.",
        pattern=r"^https?://[^\s?#]+/sign-in/callback$",
    )

    @model_validator(mode="after")
    def _private(self) -> Self:
        host = urlsplit(self.issuer).hostname or ""
        if not (self.issuer.startswith("https:") or host == "localhost" or _is_loopback(host)):
            raise ValueError("the issuer must be reached by https")
        return self


class WebSettings(_Section):
    """The pages, the API and DICOMweb."""

    bind: str = Field("127.0.0.1", description="IP address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    tls: WebTlsSettings | None = Field(None, description="HTTPS; without it, HTTP.")
    insecure_http: bool = Field(
        False,
        description="Whether HTTP is let go where bind is not this machine alone, for instance"
        " behind a proxy that has HTTPS.",
    )
    hosts: tuple[str, ...] = Field(
        (),
        description="Names that browsers may call the service by, beside its IP addresses,"
        " localhost and this machine's name.",
    )
    proxies: tuple[str, ...] = Field(
        (), description="Addresses of proxies whose X-Forwarded-For and -Proto are believed."
    )
    session_idle_minutes: float = Field(
        15.0, ge=0.1, le=480, description="A session ends when nothing was done for so long."
    )
    session_hours: float = Field(
        10.0, ge=0.1, le=168, description="A session ends so long after sign-in in any case."
    )
    max_request_bytes: int = Field(
        1 << 20, ge=16384, le=1 << 26, description="Largest request that is read, in bytes."
    )
    oidc: OidcSettings | None = Field(None, description="Sign-in by an OpenID Connect provider.")

    @model_validator(mode="after")
    def _closed(self) -> Self:
        here = self.bind == "localhost" or _is_loopback(self.bind)
        if not here and self.tls is None and not self.insecure_http:
            raise ValueError(
                f'with bind = "{self.bind}" passwords and patient data would cross the network in'
                " the clear: set [web.tls], or insecure_http = true behind a proxy that has HTTPS"
            )
        return self


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class Settings(BaseSettings):
    """The whole configuration file."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    dicom: DicomSettings = DicomSettings()
    storage: StorageSettings = StorageSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    report: ReportSettings = ReportSettings()
    pacs: tuple[PacsSettings, ...] = ()
    web: WebSettings = WebSettings()
    training: TrainingSettings = TrainingSettings()
    _file: Path | None = PrivateAttr(None)

    @property
    def file(self) -> Path | None:
        """The file that this came from, for a process of its own to read."""
        return self._file

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the file that `load` names, and from nowhere else."""
        del env_settings, dotenv_settings, file_secret_settings
        return (init_settings, TomlConfigSettingsSource(settings_cls))


def load(path: Path) -> Settings:
    """Read the configuration file.

    Raises SettingsError, naming the file, the key and what is allowed.
    """

    class FromFile(Settings):
        model_config = SettingsConfigDict(frozen=True, extra="forbid", toml_file=path)

    if not path.is_file():
        # pydantic-settings takes a missing file for an empty one
        raise SettingsError(f"{path}: there is no such configuration file")
    try:
        settings = Settings(**FromFile().model_dump())
        settings._file = path.absolute()
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: this is not TOML: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: this is not UTF-8 text, as TOML has to be") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(path, error))) from None
    names = [pacs.name for pacs in settings.pacs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(f'{path}: pacs.name: "{name}" is used twice, and must be unique')
    return settings


def _complaints(path: Path, error: ValidationError) -> list[str]:
    lines = []
    for fault in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"{path}: {key}: there is no such key; {_known(fault['loc'])}")
        elif fault["type"] == "missing":
            lines.append(f"{path}: {key}: this key is required")
        else:
            lines.append(f"{path}: {key} = {fault['input']!r}: {fault['msg']}")
    return lines


def _known(location: tuple[int | str, ...]) -> str:
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        if isinstance(part, str):
            model = _SECTIONS[part]
    return "known are " + ", ".join(model.model_fields)


_SECTIONS: dict[str, type[BaseModel]] = {
    "dicom": DicomSettings,
    "storage": StorageSettings,
    "classifier": ClassifierSettings,
    "report": ReportSettings,
    "pacs": PacsSettings,
    "web": WebSettings,
    "tls": WebTlsSettings,
    "oidc": OidcSettings,
    "training": TrainingSettings,
}
