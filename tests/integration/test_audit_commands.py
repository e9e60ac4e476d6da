"""`hilum audit` beside a running service, which writes its trail and checks it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.simulate import Form, Kind, make_object, send
from storage.people import Action
from tests.collectors import Collector, make_authority
from tests.harness import Pacs, Service, free_port, running, until, write_config


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, demo_images: list[Path]
) -> Iterator[tuple[Service, Collector, str]]:
    """A service that took one image to its report, sent its trail, and has ended in order."""
    folder = tmp_path_factory.mktemp("audit")
    keys = make_authority(folder / "keys")
    collector = Collector(keys, free_port())
    collector.start()
    pacs = Pacs().start()
    certificate, key = keys.client
    chosen = {"host": "127.0.0.1", "port": collector.port, "ca": str(keys.ca)}
    chosen |= {"certificate": str(certificate), "key": str(key)}
    service = Service(folder, write_config(folder, pacs.port, audit=chosen))
    image = make_object(demo_images[0], Form(Kind.DX, 12))
    with running(service):
        assert send([image], "127.0.0.1", service.port, "DX1", "HILUM")[0].status == 0x0000
        service.saw("report.stored", 40)
        service.saw("audit.verified", 20)
        until(lambda: any(b"report.delivered" in one for one in list(collector.messages)), 20)
        assert service.stop() == 0
    yield service, collector, str(image.SOPInstanceUID)
    collector.close()
    pacs.stop()


def listed(service: Service, *arguments: str) -> list[dict[str, Any]]:
    asked = service.hilum("audit", "list", "--json", *arguments)
    assert asked.returncode == 0, asked.stderr
    found: list[dict[str, Any]] = json.loads(asked.stdout)
    return found


def test_the_whole_way_of_an_image_is_in_the_trail(ended: tuple[Service, Collector, str]) -> None:
    service, collector, uid = ended
    rows = list(reversed(listed(service)))
    actions = [row["action"] for row in rows]
    way = [
        Action.SERVICE_STARTED, Action.MODEL_REGISTERED, Action.MODEL_LOADED,
        Action.INSTANCE_RECEIVED, Action.INSTANCE_ANALYSED, Action.REPORT_MADE,
        Action.REPORT_DELIVERED, Action.SERVICE_STOPPED,
    ]  # fmt: skip
    assert [one for one in actions if one in way][: len(way)] == [
        one for one in actions if one in way
    ]
    assert set(way) <= set(actions)
    (received,) = listed(service, "--action", "instance.received", "--subject", uid)
    assert received["actor"] == "DX1@127.0.0.1"
    (analysed,) = listed(service, "--action", "instance.analysed", "--subject", uid)
    loaded = next(row for row in rows if row["action"] == Action.MODEL_LOADED)
    assert analysed["detail"]["digest"] == loaded["detail"]["digest"]
    assert len([name for name in analysed["detail"] if name.startswith("threshold.")]) == 5
    sent = b"\n".join(collector.messages)
    assert all(str(action).encode() in sent for action in way[:-1])
    assert b"PatientName" not in sent


def test_verify_export_show_and_replay(
    ended: tuple[Service, Collector, str], tmp_path: Path
) -> None:
    service, _, uid = ended
    checked = service.hilum("audit", "verify", "--json")
    found = json.loads(checked.stdout)
    assert (checked.returncode, found["broken"]) == (0, None)
    out = tmp_path / "trail.xml"
    exported = service.hilum("audit", "export", "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    assert len(out.read_bytes().splitlines()) >= found["rows"]
    assert service.hilum("audit", "export", "--out", str(out)).returncode == 1  # it is there
    row = json.loads(service.hilum("audit", "show", "1").stdout)
    assert (row["id"], row["action"]) == (1, "service.started")
    assert service.hilum("audit", "show", "99999").returncode == 1
    again = service.hilum("audit", "replay", uid, "--json")
    assert again.returncode == 0, again.stderr
    replayed = json.loads(again.stdout)
    assert replayed["same"]
    assert replayed["exact"]
    assert replayed["largest_difference"] == 0


def test_a_changed_row_is_found(ended: tuple[Service, Collector, str]) -> None:
    service, _, _ = ended
    with sqlite3.connect(service.folder / "root" / "hilum.sqlite") as connection:
        connection.execute("DROP TRIGGER audit_no_update")
        connection.execute("UPDATE audit SET actor = 'nobody' WHERE id = 3")
    checked = service.hilum("audit", "verify")
    assert checked.returncode == 1
    assert "row 3 is not what was written" in checked.stdout
