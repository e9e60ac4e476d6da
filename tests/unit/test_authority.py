"""The authority of a site without one: what it makes, and what it refuses."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path

import pytest

from daemon import authority
from daemon.errors import CannotIssue, CertificateUnusable
from tests.certificates import NOW, Certificates


def test_openssl_verifies_what_it_makes(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    certificate, _ = made.of("HILUM")
    for purpose in ("sslserver", "sslclient"):
        said = subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(made.ca),
             "-verify_hostname", "localhost", str(certificate)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
    shown = authority.show(certificate)
    assert (shown.subject, shown.names) == ("CN=HILUM", ("localhost", "127.0.0.1"))
    assert round(shown.days_left(NOW)) == 100


def test_nothing_is_written_over(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(CannotIssue, match="is there already"):
        authority.make_authority(made.folder / "ca", "Other", 10, NOW)
    with pytest.raises(CannotIssue, match="is there already"):
        authority.issue(made.folder / "ca", made.folder, "HILUM", [], 10, NOW)
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize("title", ["../../etc/x", "A B", ".hidden", "ä"])
def test_an_ae_title_names_no_other_folder(tmp_path: Path, title: str) -> None:
    made = Certificates(tmp_path)
    certificate, key = authority.issue(made.folder / "ca", tmp_path / "out", title, [], 10, NOW)
    assert certificate.parent == key.parent == tmp_path / "out"
    assert not certificate.name.startswith(".")


def test_it_issues_nothing_that_outlives_it(tmp_path: Path) -> None:
    authority.make_authority(tmp_path, "Short", 30, NOW)
    with pytest.raises(CannotIssue, match="ends in 30 days"):
        authority.issue(tmp_path, tmp_path, "CR1", [], 31, NOW)


def test_a_key_that_is_not_its_own_is_refused(tmp_path: Path) -> None:
    authority.make_authority(tmp_path / "a", "A", 30, NOW)
    authority.make_authority(tmp_path / "b", "B", 30, NOW)
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(CannotIssue, match="holds no authority"):
        authority.issue(tmp_path / "a", tmp_path, "CR1", [], 3, NOW)


@pytest.mark.parametrize("host", ["ho st", "ä.example", "", "a" * 300, "*"])
def test_what_is_no_host_name_is_refused(tmp_path: Path, host: str) -> None:
    authority.make_authority(tmp_path, "A", 30, NOW)
    with pytest.raises(CannotIssue, match="neither a host name nor an address"):
        authority.issue(tmp_path, tmp_path, "CR1", [host], 3, NOW)


def test_what_is_no_certificate_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(CertificateUnusable, match="No such file"):
        authority.show(tmp_path / "none.pem")
    (tmp_path / "x.pem").write_text("x")
    with pytest.raises(CertificateUnusable, match="no certificate"):
        authority.show(tmp_path / "x.pem")


def test_days_left_are_negative_after_the_end(tmp_path: Path) -> None:
    certificate, _ = Certificates(tmp_path).of("HILUM")
    assert authority.show(certificate).days_left(NOW + dt.timedelta(days=101)) < 0
