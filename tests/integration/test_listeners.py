"""Two listeners on one port, with TLS as the operating guide turns it on, command by command."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from pydicom import dcmread
from pynetdicom import AE, build_context

from daemon.contexts import VERIFICATION
from daemon.simulate import Form, make_object, to_bytes
from tests.certificates import Certificates
from tests.harness import Service, free_port, running, until

GUIDE = Path(__file__).parents[2] / "docs" / "operating-guide.md"
BIN = str(Path(sys.executable).parent)
# DCMTK's programs before pynetdicom's of the same names
PATH = ":".join([*(one for one in os.environ["PATH"].split(":") if one != BIN), BIN])

pytestmark = [pytest.mark.peer, pytest.mark.slow]


@dataclass
class Guide:
    """The guide's commands and settings, for a folder and ports of the test."""

    folder: Path
    port: int
    pacs_port: int

    def blocks(self, kind: str) -> list[str]:
        section = GUIDE.read_text().partition("## DICOM TLS\n")[2].partition("\n## ")[0]
        return [self._here(one) for one in re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL)]

    def _here(self, text: str) -> str:
        text = text.replace("/etc/hilum", str(self.folder))
        text = re.sub(r"\w+\.hospital\.example", "localhost", text)
        return "\n".join(
            line.replace("2762", str(self.pacs_port if "PACS1" in before + line else self.port))
            for before, line in _with_before(text.splitlines())
        )

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            shlex.split(line), env={**os.environ, "PATH": PATH}, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip


def _with_before(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Each line, with its table of the settings up to there."""
    table = ""
    for line in lines:
        table = line if line.startswith("[") else table + line
        yield table, line


@pytest.fixture(scope="module")
def guide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guide]:
    """The service, and an archive, as the guide has them."""
    folder = tmp_path_factory.mktemp("hilum")
    one = Guide(folder, free_port(), free_port())
    make, modality, archive, _ = one.blocks("sh")
    for line in make.strip().splitlines():
        done = one.run(line)
        assert done.returncode == 0, (line, done.stderr)
    settings = one.blocks("toml")[0].replace(
        "[dicom]\n", '[dicom]\nbind = "127.0.0.1"\nlisteners = 2\n', 1
    )
    (folder / "hilum.toml").write_text(
        f'{settings}\ntimeout_s = 5\n[storage]\nroot = "{folder / "root"}"\nreserve_bytes = 0\n'
        "[report]\nstudy_quiet_s = 0\n[web]\nport = 0\n"
    )
    (folder / "archive").mkdir()
    with subprocess.Popen(
        [*shlex.split(archive), "-od", str(folder / "archive"), "--fork"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as storescp:  # fmt: skip
        try:
            with running(Service(folder, folder / "hilum.toml")) as service:
                service.saw("listener.listening", count=2)
                one.service, one.modality = service, modality
                yield one
        finally:
            storescp.kill()


def test_the_guides_commands_are_answered(guide: Guide) -> None:
    done = guide.run(guide.modality)
    assert done.returncode == 0, done.stderr
    *_, check = guide.blocks("sh")
    found = {one["what"]: one for one in json.loads(guide.run(f"{check.strip()} --json").stdout)}
    assert found["DICOM TLS"]["good"]
    assert found["PACS archive"]["good"], found["PACS archive"]
    assert "by TLS answers C-ECHO" in found["PACS archive"]["says"]


def test_an_image_and_its_report_go_over_tls(guide: Guide, demo_images: list[Path]) -> None:
    file = guide.folder / "image.dcm"
    file.write_bytes(to_bytes(make_object(demo_images[0], Form())))
    done = guide.run(f"{guide.modality.strip().replace('echoscu', 'storescu')} {file}")
    assert done.returncode == 0, done.stderr
    # DCMTK names the files by modality
    (report,) = until(lambda: list((guide.folder / "archive").glob("SR*")), 60)
    until(lambda: guide.service.events("report.stored"), 20)
    assert dcmread(report, force=True).Modality == "SR"


def test_a_killed_listener_is_restarted_while_the_other_goes_on(guide: Guide) -> None:
    made = Certificates.__new__(Certificates)
    made.folder, made.ca = guide.folder / "tls", guide.folder / "ca" / "ca.pem"
    trust = made.client("CR1")
    held = [
        AE(ae_title="CR1").associate(
            "127.0.0.1", guide.port, contexts=[build_context(VERIFICATION)], ae_title="HILUM",
            tls_args=(trust, "localhost"),
        )
        for _ in range(6)
    ]  # fmt: skip
    assert all(one.is_established for one in held)
    first, second = (
        one for one in psutil.Process(guide.service.process.pid).children()
        if one.name().startswith("hilum-listener")
    )  # fmt: skip
    kept = _connections(first, guide.port)
    assert kept + _connections(second, guide.port) == 6
    second.kill()
    guide.service.saw("listener.listening", count=3)
    assert sum(one.is_established and one.send_c_echo().get("Status") == 0 for one in held) == kept
    assert guide.run(guide.modality).returncode == 0
    for one in held:
        if one.is_established:
            one.release()
    died = guide.service.events("process.died")
    assert [one["process"] for one in died] == ["listener-2"]


def _connections(process: psutil.Process, port: int) -> int:
    return sum(
        one.laddr.port == port and one.status == psutil.CONN_ESTABLISHED
        for one in process.net_connections("tcp")
    )


def test_several_listeners_need_a_named_port() -> None:
    from daemon.settings import Settings

    with pytest.raises(ValueError, match="several listeners need a port"):
        Settings(dicom={"listeners": 2, "port": 0})
    share = Settings(dicom={"listeners": 2, "max_associations": 21}).dicom.share
    assert (share.max_associations, share.max_associations_per_address) == (10, 8)
    assert socket.SO_REUSEPORT
