"""Settings: each wrong value is named with file, key and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.errors import SettingsError
from daemon.settings import DicomSettings, Settings, load


def write(folder: Path, text: str) -> Path:
    path = folder / "hilum.toml"
    path.write_text(text)
    return path


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(write(tmp_path, "")).model_dump() == Settings().model_dump()


def test_heat_maps_are_captures_and_images_are_kept_a_month_unless_said_otherwise() -> None:
    assert Settings().report.heat_map == "sc"
    assert Settings().storage.retention_days == 30


@pytest.mark.parametrize("kind", ["sc", "gsps", "none"])
def test_each_kind_of_heat_map_can_be_set(tmp_path: Path, kind: str) -> None:
    settings = load(write(tmp_path, f'[report]\nheat_map = "{kind}"'))
    assert settings.report.heat_map == kind


def test_images_can_be_kept_for_ever_and_commitment_asked_for(tmp_path: Path) -> None:
    text = """
    [storage]
    retention_days = 0
    [[pacs]]
    name = "main"
    ae_title = "PACS"
    host = "10.0.0.9"
    port = 104
    storage_commitment = true
    commitment_timeout_s = 600
    """
    settings = load(write(tmp_path, text))
    assert settings.storage.retention_days == 0
    assert settings.pacs[0].storage_commitment is True
    assert settings.pacs[0].commitment_timeout_s == 600


def test_a_full_file_is_read(tmp_path: Path) -> None:
    settings = load(
        write(
            tmp_path,
            """
            [dicom]
            ae_title = "CHEST"
            port = 104
            allowed_callers = ["CR1@10.0.0.5", "*@10.1.0.0/16", "DX2@*"]
            [storage]
            root = "/srv/hilum"
            [[pacs]]
            name = "main"
            ae_title = "PACS"
            host = "10.0.0.9"
            port = 104
            [[pacs]]
            name = "second"
            ae_title = "PACS2"
            host = "10.0.0.10"
            port = 11112
            """,
        )
    )
    assert settings.dicom.ae_title == "CHEST"
    assert settings.storage.url == "sqlite:////srv/hilum/hilum.sqlite"
    assert [pacs.name for pacs in settings.pacs] == ["main", "second"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[dicom]\nport = 70000", ["dicom.port", "70000", "65535"]),
        ("[dicom]\nprot = 104", ["dicom.prot", "no such key", "port"]),
        ("[dcom]\nport = 104", ["dcom", "no such key", "dicom"]),
        ('[dicom]\nae_title = "MUCH TOO LONG A TITLE"', ["dicom.ae_title", "16"]),
        ('[dicom]\nae_title = "back\\\\slash"', ["dicom.ae_title", "backslash"]),
        ('[dicom]\nallowed_callers = ["CR1"]', ["dicom.allowed_callers", "AE@address"]),
        ('[dicom]\nallowed_callers = ["CR1@nowhere"]', ["dicom.allowed_callers", "network"]),
        ("[report]\nstudy_quiet_s = -1", ["report.study_quiet_s", "-1", "0"]),
        ('[[pacs]]\nname = "a"\nhost = "h"\nport = 1', ["pacs.0.ae_title", "required"]),
        (
            '[[pacs]]\nname="a"\nae_title="A"\nhost="h"\nport=1\n'
            '[[pacs]]\nname="a"\nae_title="B"\nhost="h"\nport=1',
            ["pacs.name", '"a"', "unique"],
        ),
        ("[dicom", ["not TOML"]),
        ('[report]\nheat_map = "pdf"', ["report.heat_map", "'pdf'", "'sc', 'gsps' or 'none'"]),
        ("[storage]\nretention_days = -1", ["storage.retention_days", "-1", "0"]),
        ("[storage]\nretention_days = 40000", ["storage.retention_days", "36500"]),
        (
            '[[pacs]]\nname="a"\nae_title="A"\nhost="h"\nport=1\nstorage_commitment="maybe"',
            ["pacs.0.storage_commitment", "'maybe'"],
        ),
        (
            '[[pacs]]\nname="a"\nae_title="A"\nhost="h"\nport=1\ncommitment_timeout_s=0',
            ["pacs.0.commitment_timeout_s", "1"],
        ),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, text: str, told: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    for part in [str(path), *told]:
        assert part in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such configuration file"):
        load(tmp_path / "absent.toml")


def test_text_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "hilum.toml"
    path.write_bytes(b"[dicom]\nae_title = '\xff'")
    with pytest.raises(SettingsError, match="UTF-8"):
        load(path)


def test_the_environment_sets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOM", '{"port": 1}')
    assert load(write(tmp_path, "")).dicom == DicomSettings()


def test_every_key_has_a_description() -> None:
    for section in Settings.model_fields.values():
        fields = getattr(section.annotation, "model_fields", {})
        for name, field in fields.items():
            assert field.description, name


TLS = '[dicom.tls]\ncertificate = "c.pem"\nkey = "k.pem"\nca = "ca.pem"\n'
PACS = '[[pacs]]\nname = "p"\nae_title = "P"\nhost = "h"\nport = 1\n'


def test_a_pacs_takes_our_files_for_tls(tmp_path: Path) -> None:
    (tmp_path / "all.toml").write_text(TLS + PACS + "tls = true\n")
    (taken,) = load(tmp_path / "all.toml").pacs
    assert taken.tls is not None
    assert [str(one) for one in (taken.tls.ca, taken.tls.certificate, taken.tls.key)] == [
        "ca.pem", "c.pem", "k.pem",
    ]  # fmt: skip
    assert taken.tls_name == "h"
    (tmp_path / "some.toml").write_text(TLS + PACS + 'tls = {ca = "o.pem", server_name = "n"}\n')
    (some,) = load(tmp_path / "some.toml").pacs
    assert some.tls is not None
    assert (str(some.tls.ca), str(some.tls.certificate)) == ("o.pem", "c.pem")
    assert some.tls_name == "n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PACS + "tls = true\n", "takes the files of [dicom.tls], which is not there"),
        (PACS + 'tls = {ca = "a", key = "k"}\n', "certificate and key go together"),
        ("[dicom]\ntls = true\n", "a table is needed here"),
        (TLS + "verify = false\n", "known are certificate, key, ca, client_certificate, peers"),
        (TLS + '[[dicom.tls.peers]]\nae_title = "A"\ncertificate = "sha256:12"\n',
         "64 hexadecimal digits"),
        ("[dicom]\nlisteners = 2\nport = 0\n", "several listeners need a port"),
    ],
)  # fmt: skip
def test_a_wrong_tls_setting_is_named(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "hilum.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "hilum.toml")
    assert says in str(caught.value)
