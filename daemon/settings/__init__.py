"""One TOML file, read into frozen models that refuse what they do not know."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, PrivateAttr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from daemon.errors import SettingsError
from daemon.settings.audit import AuditSettings
from daemon.settings.canary import CanarySettings
from daemon.settings.dicom import DicomSettings, PacsSettings
from daemon.settings.names import AeTitle, Caller
from daemon.settings.service import (
    ClassifierSettings,
    ReportSettings,
    StorageSettings,
    TrainingSettings,
    WatchSettings,
)
from daemon.settings.tls import (
    DicomTlsSettings,
    PacsTlsSettings,
    TlsPeerSettings,
    with_own_files,
)
from daemon.settings.web import OidcSettings, WebSettings, WebTlsSettings

__all__ = [
    "AeTitle",
    "AuditSettings",
    "Caller",
    "CanarySettings",
    "ClassifierSettings",
    "DicomSettings",
    "DicomTlsSettings",
    "OidcSettings",
    "PacsSettings",
    "PacsTlsSettings",
    "ReportSettings",
    "Settings",
    "StorageSettings",
    "TlsPeerSettings",
    "TrainingSettings",
    "WatchSettings",
    "WebSettings",
    "WebTlsSettings",
    "load",
]


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
    audit: AuditSettings = AuditSettings()
    canary: CanarySettings = CanarySettings()
    watch: WatchSettings = WatchSettings()
    _file: Path | None = PrivateAttr(None)

    @model_validator(mode="before")
    @classmethod
    def _own_tls_files(cls, data: Any) -> Any:
        """Let a PACS's TLS take what it does not say from ours."""
        pacs = data.get("pacs") if isinstance(data, dict) else None
        if not isinstance(pacs, list | tuple):
            return data
        dicom = data.get("dicom")
        own = dicom.get("tls") if isinstance(dicom, dict) else None
        return data | {
            "pacs": [
                one | {"tls": with_own_files(one["tls"], own)}
                if isinstance(one, dict) and one.get("tls")
                else one
                for one in pacs
            ]
        }

    @property
    def file(self) -> Path | None:
        """The file that this came from, for a process of its own to read."""
        return self._file

    @property
    def canary_pacs(self) -> tuple[PacsSettings, ...]:
        """The PACS that the canary's report goes to."""
        named = self.canary.pacs
        return tuple(one for one in self.pacs if not named or one.name in named)

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
    for name in settings.canary.pacs:
        if name not in names:
            known = ", ".join(names) or "none"
            raise SettingsError(
                f'{path}: canary.pacs: there is no PACS "{name}"; known are {known}'
            )
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
    names = [part for part in location[:-1] if isinstance(part, str)]
    if names:
        model = _SECTIONS[".".join(names)]
    return "known are " + ", ".join(model.model_fields)


_SECTIONS: dict[str, type[BaseModel]] = {
    "dicom": DicomSettings,
    "dicom.tls": DicomTlsSettings,
    "dicom.tls.peers": TlsPeerSettings,
    "storage": StorageSettings,
    "classifier": ClassifierSettings,
    "report": ReportSettings,
    "pacs": PacsSettings,
    "pacs.tls": PacsTlsSettings,
    "web": WebSettings,
    "web.tls": WebTlsSettings,
    "web.oidc": OidcSettings,
    "training": TrainingSettings,
    "audit": AuditSettings,
    "canary": CanarySettings,
    "watch": WatchSettings,
}
