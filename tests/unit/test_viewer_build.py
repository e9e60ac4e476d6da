"""The viewer's build that is shipped is the one of the sources beside it. Needs no Node."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

WEB = Path(__file__).parents[2] / "daemon" / "web"
SOURCES, BUILD = WEB / "frontend", WEB / "static" / "viewer"
LARGEST_BYTES = 6_000_000
MANIFEST = json.loads((BUILD / "manifest.json").read_text("utf-8"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sources() -> str:
    """As vite.config.ts makes it: SHA-256 over "path NUL digest LF" in order of the path."""
    top = [".npmrc", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"]
    inner = [path for path in (SOURCES / "src").rglob("*") if path.is_file()]
    names = sorted(top + [path.relative_to(SOURCES).as_posix() for path in inner])
    lines = [f"{name}\0{sha256((SOURCES / name).read_bytes())}\n" for name in names]
    return sha256("".join(lines).encode())


def test_the_build_is_of_these_sources() -> None:
    assert MANIFEST["sources"] == sources(), "run `make web` and commit daemon/web/static/viewer"


def test_the_build_is_whole_and_small() -> None:
    found = {
        path.relative_to(BUILD).as_posix(): sha256(path.read_bytes())
        for path in BUILD.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert found == MANIFEST["files"]
    assert sum(path.stat().st_size for path in BUILD.rglob("*") if path.is_file()) < LARGEST_BYTES
    assert {MANIFEST["entry"], *MANIFEST["preload"]} <= set(found)
    assert not [name for name in found if name.endswith(".map")]


def test_nothing_needs_eval() -> None:
    for script in BUILD.rglob("*.js"):
        text = script.read_text("utf-8")
        assert not re.search(r"\bnew Function\(|[^\w.$]eval\(", text), script.name


def test_every_package_in_it_is_named_with_a_licence_that_may_be_shipped() -> None:
    notice = (BUILD / "THIRD-PARTY.txt").read_text("utf-8")
    lock = json.loads((SOURCES / "package-lock.json").read_text("utf-8"))
    for name in ("@cornerstonejs/core", "@cornerstonejs/dicom-image-loader", "dicom-parser"):
        version = lock["packages"][f"node_modules/{name}"]["version"]
        assert f"{name} {version}\nLicence: MIT" in notice
    licences = set(re.findall(r"^Licence: (.+)$", notice, re.MULTILINE))
    assert not [one for one in licences if "GPL" in one or one == "not stated"]


def test_the_lock_names_no_registry() -> None:
    lock = (SOURCES / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in lock
    assert "omit-lockfile-registry-resolved=true" in (SOURCES / ".npmrc").read_text("utf-8")
    packages = json.loads(lock)["packages"]
    assert all("integrity" in one for name, one in packages.items() if name)
