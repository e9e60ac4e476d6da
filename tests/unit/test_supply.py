"""What the product is made of: hashed, licensed so that it may be passed on, and listed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from docs.supply import (
    FOUND,
    NOT_ASKED,
    NOT_RUN,
    RUNTIME,
    Package,
    advisories,
    front_end,
    licences,
    locked,
    sbom,
)

ROOT = Path(__file__).parents[2]
LOCKS = [RUNTIME, RUNTIME.with_name("dev.txt")]
STRONG = re.compile(r"(?<!L)(?<!Lesser )\b(A?GPL|Affero|GNU General Public)", re.IGNORECASE)


@pytest.mark.parametrize("package", [*locked(), *front_end()], ids=lambda one: one.name)
def test_each_package_states_a_licence_that_is_no_gpl(package: Package) -> None:
    if package.marker and not package.licence:
        pytest.skip(f"for {package.marker} alone")
    assert package.licence, package.name
    assert not STRONG.search(package.licence), package


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "AGPL-3.0", "GNU General Public License v2"])
def test_the_test_would_see_a_gpl(licence: str) -> None:
    assert STRONG.search(licence)
    assert not STRONG.search("LGPL-2.1")


def test_each_is_named_in_the_list() -> None:
    made = licences()
    for package in (*locked(), *front_end()):
        assert f"| {package.name} | {package.version} |" in made


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_each_locked_package_has_hashes_and_the_install_asks_for_them(lock: Path) -> None:
    found = locked(lock)
    assert len(found) == len(re.findall(r"^[^\s#-][^\n]*==", lock.read_text(), re.MULTILINE))
    assert all(package.hashes for package in found)
    makefile = (ROOT / "Makefile").read_text()
    assert f"install --require-hashes --requirement deploy/lock/{lock.name}" in makefile


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder with one small wheel, and the wheel's hash."""
    info, wheel = "tiny-1.0.dist-info", tmp_path / "tiny-1.0-py3-none-any.whl"
    files = {
        "tiny.py": b"",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()},0"
        for name, data in files.items()
    ]
    with zipfile.ZipFile(wheel, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
        packed.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]))
    return tmp_path, hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.mark.parametrize("change", ["none", "wrong", "missing"])
def test_pip_refuses_a_wheel_whose_hash_is_not_the_locks(
    index: tuple[Path, str], change: str
) -> None:
    folder, right = index
    digest = {"none": right, "wrong": hashlib.sha256(b"other").hexdigest(), "missing": ""}[change]
    lock = folder / "lock.txt"
    lock.write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n" if digest else "tiny==1.0\n")
    ran = subprocess.run(
        [
            sys.executable, "-m", "pip", "--isolated", "install", "--no-index", "--find-links",
            str(folder), "--target", str(folder / "to"), "--require-hashes", "-r", str(lock),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode == 0) is (change == "none"), ran.stderr
    assert (folder / "to" / "tiny.py").exists() is (change == "none")
    if change == "wrong":
        assert "DO NOT MATCH THE HASHES" in ran.stderr


def test_the_sbom_names_each_package_with_version_licence_and_hash() -> None:
    made = json.loads(sbom())
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    components = {one["purl"]: one for one in made["components"]}
    for package in (*locked(), *front_end()):
        kind, scope, name = package.purl
        start = f"pkg:{kind}/{scope.replace('@', '%40') + '/' if scope else ''}{name}"
        one = components[f"{start}@{package.version}"]
        assert {each["content"] for each in one["hashes"]} >= set(package.hashes) or package.npm
        assert one.get("licenses") or not package.licence


class Database(BaseHTTPRequestHandler):
    """An advisory database that knows one vulnerability (OSV's answers)."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        bad = asked["package"]["name"] == "pillow"
        known = {"id": "TEST-1", "modified": "2026-01-01T00:00:00Z", "affected": []}
        answer = json.dumps({"vulns": [known]} if bad else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_known_vulnerability_is_named(tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Database)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/query"
    lock = tmp_path / "lock.txt"
    text = RUNTIME.read_text()
    few = re.findall(r"^(?:pillow|idna)==.*?(?=^\w)", text, re.MULTILINE | re.DOTALL)
    lock.write_text("".join(few))
    says, status = advisories(["--vulnerability-service", "osv", "--osv-url", url], lock)
    server.shutdown()
    assert status == FOUND, says
    assert re.search(r"^pillow \S+: TEST-1$", says, re.MULTILINE)
    assert "2 packages asked about, 1 advisories" in says


def test_without_an_advisory_database_it_says_that_it_was_not_run() -> None:
    closed = ["--vulnerability-service", "osv", "--osv-url", "http://127.0.0.1:9/query"]
    says, status = advisories(closed)
    assert says.startswith(NOT_RUN)
    assert status == NOT_ASKED
