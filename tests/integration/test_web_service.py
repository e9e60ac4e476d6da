"""The pages as a process of the service: found, over TLS, and gone when told."""

from __future__ import annotations

import datetime
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.harness import Service, hilum, running, until, write_config
from tests.pages import PASSWORD, csrf_of


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate of localhost, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, key_pem = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return pem, key_pem


def add_user(service: Service, login: str, role: str) -> None:
    arguments = ["user", "add", login, "--role", role, "--name", login, "--password-stdin"]
    added = hilum(*arguments, "--config", str(service.config), stdin=PASSWORD + "\n")
    assert added.returncode == 0, added.stderr


def pss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def test_the_pages_over_tls_small_and_gone_when_told(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    tls = {"certificate": str(certificate), "key": str(key)}
    config = write_config(tmp_path, None)
    with config.open("a") as file:
        file.write("[web.tls]\n" + "\n".join(f'{k} = "{v}"' for k, v in tls.items()))
    service = Service(tmp_path, config)
    add_user(service, "ann", "administrator")
    with running(service, ready=False):
        url = service.saw("web.listening", 30)["url"].replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        trust = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=url, verify=trust) as browser:
            form = {"login": "ann", "password": PASSWORD}
            form["csrf_token"] = csrf_of(browser.get("/sign-in"))
            signed = browser.post("/sign-in", data=form)
            assert signed.status_code == 303
            assert signed.headers["set-cookie"].startswith("__Host-hilum=")
            assert browser.get("/users").status_code == 200
            service.saw("worker.ready", 60)
            health = browser.get("/api/v1/health")
            assert (health.status_code, health.json()["faults"]) == (200, [])
            names = [one["name"] for one in health.json()["processes"]]
            assert names == ["listener", "worker-0", "delivery", "web"]
        with pytest.raises(ssl.SSLError):
            _handshake(url, ssl.TLSVersion.TLSv1_1)
        pid = next(r["pid"] for r in service.events("process.started") if r["process"] == "web")
        assert pss_mib(pid) < 90
        os.kill(pid, signal.SIGTERM)
        started = time.monotonic()
        service.saw("process.died", 5)
        assert time.monotonic() - started < 1.0
        service.saw("web.listening", 10, count=2)
        _no_traces(service)


def _handshake(url: str, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 5) as plain, context.wrap_socket(plain):
        pass


def _no_traces(service: Service) -> None:
    """The log says which routes were used by whom, and neither URL nor password."""
    answered = service.events("web.answered")
    assert {"/sign-in", "/users", "/api/v1/health"} <= {one["route"] for one in answered}
    text = json.dumps(service.log)
    assert PASSWORD not in text
    assert "csrf" not in text


def test_a_slow_answer_and_a_silent_caller_do_not_hold_the_stop_up(service: Service) -> None:
    with running(service, ready=False):
        port = service.saw("web.listening", 30)["port"]
        silent = socket.create_connection(("127.0.0.1", port))
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nx")
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        other.request("GET", "/health/live")
        assert other.getresponse().read() == b"live\n"
        started = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - started < 5.0
        silent.close()
        half.close()


def test_a_port_that_is_taken_stops_the_pages_and_nothing_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = Service(tmp_path, write_config(tmp_path, None, web={"port": port}))
        with running(service, ready=False):
            faults = until(lambda: service.events("fault"), 20)
            assert f"port {port}" in faults[0]["reason"]
            assert service.hilum("queue", "list").returncode == 0
            assert service.stop() == 0


@pytest.mark.parametrize(
    ("web", "told"),
    [
        ('bind = "0.0.0.0"', "insecure_http"),
        ('bind = "hilum.example"', "insecure_http"),
        ("session_idle_minutes = 0", "session_idle_minutes"),
        ('tls = {certificate = "x"}', "web.tls.key"),
        ('oidc = {issuer = "http://a.example", client_id = "x", roles = {a = "auditor"}}',
         "https"),
        ('oidc = {issuer = "https://a.example", client_id = "x", roles = {a = "boss"}}',
         "'radiologist', 'administrator' or 'auditor'"),
    ],
)  # fmt: skip
def test_what_the_pages_cannot_be_set_to_is_said(tmp_path: Path, web: str, told: str) -> None:
    config = tmp_path / "hilum.toml"
    config.write_text(f"[web]\n{web}\n")
    asked: Any = hilum("serve", "--config", str(config))
    assert asked.returncode == 2
    assert told in asked.stderr


@pytest.mark.slow
def test_the_demo_stays_up_and_says_how_to_sign_in(tmp_path: Path) -> None:
    program = (
        "from pathlib import Path; from rich.console import Console; from daemon import demo_pages;"
        f"demo_pages.stay(Path({str(tmp_path)!r}), Console(stderr=True, width=200))"
    )
    demo = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert demo.stderr is not None
    told = ""
    try:
        while "Ctrl-C" not in told:
            line = demo.stderr.readline()
            assert line, told
            told += line
        (url,) = re.findall(r"http://\S+", told)
        password = re.findall(r"password (\S+)", told)[0]
        for role, first in (("radiologist", "/account"), ("administrator", "/users")):
            with httpx.Client(base_url=url) as browser:
                token = csrf_of(browser.get("/sign-in"))
                form = {"login": role, "password": password, "csrf_token": token}
                assert browser.post("/sign-in", data=form).status_code == 303
                assert browser.get(first).status_code == 200
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
    finally:
        demo.kill()
        demo.wait(10)
