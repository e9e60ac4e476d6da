"""DICOM TLS: who is refused at our port, which PACS we refuse, and certificates that are renewed.

Each refusal is also tried at a listener that takes any TLS, where the same client gets through.
"""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from daemon import admission, authority, check_tls, tls
from daemon.association import associate
from daemon.contexts import COMPREHENSIVE_SR, VERIFICATION
from daemon.errors import CertificateUnusable, PeerUnreachable
from daemon.listener_care import Care
from daemon.settings import PacsSettings, PacsTlsSettings, Settings
from storage.alarms import Alarms
from tests import soak
from tests.certificates import NOW, Certificates
from tests.harness import free_port, until
from tests.listener_process import ListenerProcess
from tests.listening import Bench

YEAR = dt.timedelta(days=365)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Another authority, with certificates to the same AE titles."""
    return Certificates(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module", params=[False, True], ids=["guarded", "lax"])
def listener(
    request: pytest.FixtureRequest, made: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ListenerProcess]:
    root = tmp_path_factory.mktemp("root")
    with ListenerProcess(root, guarded=True, lax=request.param, tls=made.dicom()) as one:
        one.lax = request.param
        yield one


def echoscu(port: int, pair: tuple[Path, Path] | None, ca: Path, *more: str) -> bool:
    """Whether DCMTK gets a C-ECHO through."""
    certificate, key = pair or (None, None)
    own = ["+tla"] if pair is None else ["+tls", str(key), str(certificate)]
    done = subprocess.run(
        ["echoscu", *own, "+cf", str(ca), "-aet", "CR1", "-aec", "HILUM", "-ta", "5", "-td", "5",
         *more, "localhost", str(port)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return done.returncode == 0


def s_client(port: int, pair: tuple[Path, Path] | None, *more: str) -> bool:
    """Whether OpenSSL's client is still connected after the handshake, and both ends agreed."""
    own = [] if pair is None else ["-cert", str(pair[0]), "-key", str(pair[1])]
    with subprocess.Popen(
        ["openssl", "s_client", "-connect", f"localhost:{port}", "-quiet", *own, *more],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as client:  # fmt: skip
        try:
            client.wait(1.5)
        except subprocess.TimeoutExpired:
            return True
        finally:
            client.kill()
    return False


@pytest.mark.peer
def test_a_caller_with_its_own_certificate_is_let_in(
    listener: ListenerProcess, made: Certificates
) -> None:
    assert echoscu(listener.port, made.of("CR1"), made.ca)
    assert s_client(listener.port, made.of("CR1"), "-tls1_2")
    assert s_client(listener.port, made.of("CR1"), "-tls1_3")


REFUSED = ["no certificate", "another authority's", "expired", "not yet valid", "another AE's"]
OLD = {
    "TLS 1.0": ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
    "TLS 1.1": ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
    "a suite without forward secrecy or GCM": (
        "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0",
    ),
}  # fmt: skip


@pytest.mark.peer
@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_certificate_is_refused(
    listener: ListenerProcess, made: Certificates, stranger: Certificates, what: str
) -> None:
    pair = {
        "no certificate": lambda: None,
        "another authority's": lambda: stranger.of("CR1"),
        "expired": lambda: made.of("CR1", name="expired", now=NOW - YEAR),
        "not yet valid": lambda: made.of("CR1", name="early", now=NOW + YEAR / 10),
        "another AE's": lambda: made.of("CR2"),
    }[what]()
    if pair is None:  # DCMTK without a certificate has no suite in common with anybody
        through = shakes(listener.port, made.ca)
    else:
        through = echoscu(listener.port, pair, made.ca)
    judge(listener, what, through)


@pytest.mark.peer
@pytest.mark.parametrize("what", OLD)
def test_old_tls_is_refused(listener: ListenerProcess, made: Certificates, what: str) -> None:
    judge(listener, what, s_client(listener.port, made.of("CR1"), *OLD[what]))


def judge(listener: ListenerProcess, what: str, through: bool) -> None:
    if listener.lax:
        assert through, f"{what}: a lax listener should have let it through"
    else:
        soak.record(
            soak.WRONG_TLS, tried=1, seen=f"{what}: {'let in' if through else 'refused'}",
            limit="refused", good=not through,
        )  # fmt: skip


def shakes(port: int, ca: Path) -> bool:
    """Whether an association opens without a certificate."""
    association = AE(ae_title="CR1").associate(
        "127.0.0.1", port, contexts=[build_context(VERIFICATION)], ae_title="HILUM",
        tls_args=(ssl.create_default_context(cafile=ca), "localhost"),
    )  # fmt: skip
    if association.is_established:
        association.release()
        return True
    return False


def test_without_tls_nobody_is_answered(listener: ListenerProcess) -> None:
    entity = AE(ae_title="CR1")
    entity.acse_timeout = 3
    association = entity.associate(
        "127.0.0.1", listener.port, contexts=[build_context(VERIFICATION)], ae_title="HILUM"
    )
    assert not association.is_established


def caller(title: str, certificate: tls.PeerCertificate | None) -> admission.Caller:
    return admission.Caller(title, "HILUM", "10.0.0.5", certificate)


FINGERPRINT = "sha256:" + "ab" * 32
OF_CR1 = tls.PeerCertificate("sha256:" + "00" * 32, frozenset({"CR1", "cr1.example"}))
BY_PRINT = tls.PeerCertificate(FINGERPRINT, frozenset({"whatever"}))


@pytest.mark.parametrize(
    ("mode", "title", "certificate", "let_in"),
    [
        ("required", "CR1", OF_CR1, True),
        ("required", "CR2", OF_CR1, False),
        ("required", "CR1", None, False),
        ("required", "US1", BY_PRINT, True),  # bound by its fingerprint
        ("required", "US1", tls.PeerCertificate("sha256:00", frozenset({"US1"})), False),
        ("required", "DX1", OF_CR1, True),  # bound by a name
        ("required", "whatever", BY_PRINT, True),
        ("optional", "CR1", None, True),
        ("optional", "US1", None, False),
        ("optional", "CR2", OF_CR1, False),
    ],
)
def test_a_certificate_and_an_ae_title_go_together(
    made: Certificates,
    mode: str,
    title: str,
    certificate: tls.PeerCertificate | None,
    let_in: bool,
) -> None:
    peers = [
        {"ae_title": "US1", "certificate": FINGERPRINT.upper().replace("SHA", "sha")},
        {"ae_title": "DX1", "certificate": "cr1.example"},
    ]
    settings = Settings(dicom={"tls": made.dicom(client_certificate=mode, peers=peers)}).dicom
    found = admission.judge(settings, caller(title, certificate), open_now=1, open_there=1)
    assert found is (None if let_in else admission.CERTIFICATE_OF_ANOTHER)


@contextmanager
def storescp(
    folder: Path, pair: tuple[Path, Path] | None, ca: Path, *, ae_title: str = "PACS1"
) -> Iterator[int]:
    """DCMTK's archive, with TLS."""
    port = free_port()
    own = [] if pair is None else ["+tls", str(pair[1]), str(pair[0]), "+cf", str(ca)]
    folder.mkdir(exist_ok=True)
    with subprocess.Popen(
        ["storescp", *own, "-aet", ae_title, "-od", str(folder), "--fork", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as archive:  # fmt: skip
        try:
            until(lambda: _listens(port), 10)
            yield port
        finally:
            archive.kill()


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def pacs(port: int, ca: Path, pair: tuple[Path, Path] | None, **more: str) -> PacsSettings:
    own = {} if pair is None else {"certificate": pair[0], "key": pair[1]}
    return PacsSettings(
        name="p", ae_title="PACS1", host=more.pop("host", "localhost"), port=port, timeout_s=3,
        tls=PacsTlsSettings(ca=ca, **own, **more),
    )  # fmt: skip


@pytest.mark.peer
def test_a_pacs_over_tls(made: Certificates, stranger: Certificates, tmp_path: Path) -> None:
    ours = made.of("HILUM")
    with storescp(tmp_path / "pacs", made.of("PACS1"), made.ca) as port:
        association = associate(pacs(port, made.ca, ours), "HILUM", [COMPREHENSIVE_SR])
        assert association.is_established
        association.release()
        with pytest.raises(PeerUnreachable, match="certificate was refused"):
            associate(pacs(port, stranger.ca, ours), "HILUM", [COMPREHENSIVE_SR])
        other = pacs(port, made.ca, ours, server_name="pacs.example")
        with pytest.raises(PeerUnreachable, match="certificate was refused: Hostname mismatch"):
            associate(other, "HILUM", [COMPREHENSIVE_SR])
        with pytest.raises(PeerUnreachable):  # the PACS wants a certificate of ours
            associate(pacs(port, made.ca, None), "HILUM", [COMPREHENSIVE_SR])
    with (
        storescp(tmp_path / "pacs", None, made.ca) as port,
        pytest.raises(PeerUnreachable, match="no TLS"),
    ):
        associate(pacs(port, made.ca, ours), "HILUM", [COMPREHENSIVE_SR])


def test_a_pacs_that_never_ends_its_handshake_holds_no_thread(made: Certificates) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(PeerUnreachable, match="no TLS"):
            associate(pacs(silent.getsockname()[1], made.ca, None), "HILUM", [COMPREHENSIVE_SR])
        assert time.monotonic() - started < 3 + 5


def shown_at(bench: Bench, trust: ssl.SSLContext) -> str:
    """The fingerprint of the certificate that the listener comes with."""
    with (
        socket.create_connection(("127.0.0.1", bench.port), 5) as peer,
        trust.wrap_socket(peer, server_hostname="localhost") as shaken,
    ):
        return tls.PeerCertificate.of(shaken).fingerprint


def test_a_renewed_certificate_is_taken_up_and_a_broken_one_is_not(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    bench = Bench(tmp_path, tls=made.dicom())
    try:
        trust, care = made.client("CR1"), Care(bench.listener, bench.database)
        certificate, key = made.of("HILUM")
        first = shown_at(bench, trust)
        assert first == authority.show(certificate).fingerprint
        held = _associate(bench, trust)

        renewed = made.of("HILUM", name="renewed")
        for new, old in zip(renewed, (certificate, key), strict=True):
            shutil.copy(new, old.with_suffix(".new"))
            old.with_suffix(".new").replace(old)
        until(lambda: shown_at(bench, trust) == authority.show(renewed[0]).fingerprint, 5, 0.2)
        assert held.send_c_echo().Status == 0  # who was there stays

        certificate.write_text("no certificate")
        until(lambda: care.look() or Alarms(bench.database).open(), 5, 0.2)
        (alarm,) = Alarms(bench.database).open()
        assert (alarm.kind, alarm.subject) == ("certificate", "dicom.tls")
        assert shown_at(bench, trust) == authority.show(renewed[0]).fingerprint

        shutil.copy(renewed[0], certificate)
        until(lambda: care.look() or not Alarms(bench.database).open(), 5, 0.2)
        held.release()
    finally:
        bench.close()


def _associate(bench: Bench, trust: ssl.SSLContext) -> Association:
    association = AE(ae_title="CR1").associate(
        "127.0.0.1", bench.port, contexts=[build_context(VERIFICATION)], ae_title="HILUM",
        tls_args=(trust, "localhost"),
    )  # fmt: skip
    assert association.is_established
    return association


def test_files_that_do_not_belong_together_are_named(made: Certificates, tmp_path: Path) -> None:
    wrong = made.dicom(key=str(made.of("CR1")[1]))
    with pytest.raises(CertificateUnusable, match=r"dicom\.tls\.certificate .*HILUM\.pem"):
        tls.server_context(Settings(dicom={"tls": wrong}).dicom.tls)
    missing = made.dicom(ca=str(tmp_path / "none.pem"))
    with pytest.raises(CertificateUnusable, match=r"dicom\.tls\.ca .*No such file"):
        tls.server_context(Settings(dicom={"tls": missing}).dicom.tls)


@pytest.mark.parametrize(
    ("days", "ago", "good", "says"),
    [(100, 0, True, "valid until"), (20, 0, True, ": 20 days"), (100, 101, False, "expired")],
)
def test_check_tells_when_a_certificate_ends(
    made: Certificates, days: int, ago: int, good: bool, says: str
) -> None:
    then = NOW - dt.timedelta(days=ago, hours=1)
    certificate, key = made.of("HILUM", name=f"HILUM-{days}-{ago}", days=days, now=then)
    table = made.dicom(certificate=str(certificate), key=str(key))
    found, _ = check_tls.look(Settings(dicom={"tls": table}))
    assert (found.what, found.good) == ("DICOM TLS", good)
    assert says in found.says


def test_keys_are_for_their_owner_alone(made: Certificates) -> None:
    for key in made.folder.rglob("*.key"):
        assert key.stat().st_mode & 0o777 == 0o600
