"""Hostile files and a modality that repeats itself: refused or answered, none harms another."""

from __future__ import annotations

import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from daemon.settings import load
from daemon.simulate import Form, Kind, make_object, send
from storage.database import open_database
from storage.errors import NotFound
from storage.objects import ObjectStore
from storage.queue import Queue
from storage.records import Arrival, JobId, JobRow, JobState, ResultStatus
from tests import soak
from tests.harness import Pacs, Service, running, until, write_config
from tests.radiographs import anatomy, compressed, make_radiograph, part10
from tests.storing import arrival

MIB = 1 << 20
MAY_TAKE = 400 * MIB  # beyond the worker at rest: the bombs would take GiBs
BAD_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CELLS = anatomy(256, 256, 4096).astype(np.uint16)

pytestmark = pytest.mark.slow


def nested(depth: int) -> bytes:
    """A file whose sequences lie in one another: it exhausts pydicom's recursion."""
    head = part10(make_radiograph(CELLS, 12))
    meta_end = 132 + 12 + int.from_bytes(head[140:144], "little")
    start, end = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff", b"\xfe\xff\xdd\xe0\0\0\0\0"
    item, item_end = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
    return head[:meta_end] + (start + item) * depth + (item_end + end) * depth


def deflate_bomb() -> bytes:
    """A quarter of a megabyte that unpacks to 256 MiB."""
    plain = part10(make_radiograph(CELLS, 12))
    meta_end = 132 + 12 + int.from_bytes(plain[140:144], "little")
    ds = make_radiograph(CELLS[:1, :2], 12)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    head = part10(ds)
    end = 132 + 12 + int.from_bytes(head[140:144], "little")
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    element = b"\xe0\x7f\x10\x00OB\0\0" + (256 * MIB).to_bytes(4, "little")
    packed = pack.compress(plain[meta_end:][:400] + element)
    packed += b"".join(pack.compress(bytes(MIB)) for _ in range(256)) + pack.flush()
    return head[:end] + packed


def huge() -> bytes:
    """Sixteen bytes of pixels that say they are 65,535 x 65,535 x 10,000."""
    ds = make_radiograph(CELLS, 12)
    ds.Rows = ds.Columns = 65535
    ds.NumberOfFrames, ds.PixelData = 10_000, bytes(16)
    return part10(ds)


def huge_codestream() -> bytes:
    """A JPEG 2000 header that says 60,000 x 60,000, under a DICOM header that agrees."""
    size = (60_000).to_bytes(4, "big")
    siz = b"\xff\x51" + (41).to_bytes(2, "big") + b"\0\0" + size + size + bytes(8) + size + size
    siz += bytes(8) + (1).to_bytes(2, "big") + b"\x0b\x01\x01"
    ds = compressed(make_radiograph(CELLS, 12), JPEG2000Lossless, b"\xff\x4f" + siz + bytes(64))
    ds.Rows = ds.Columns = 60_000
    return part10(ds)


OURS = {
    "nested 200": nested(200), "nested 2000": nested(2000), "deflate bomb": deflate_bomb(),
    "huge": huge(), "huge codestream": huge_codestream(),
}  # fmt: skip


def accept(config: Path, contents: list[bytes]) -> None:
    """Take the files in as the listener does, which reads none of them."""
    settings = load(config)
    objects, database = ObjectStore(settings.storage.root), open_database(settings.storage.url)
    database.migrate(settings.storage.root / "backups")
    for number, content in enumerate(contents):
        stored, one = objects.put(content), arrival(f"1.2.{number}")
        Queue(database).accept(Arrival(
            one.sop_instance_uid, one.sop_class_uid, one.transfer_syntax_uid, stored.sha256,
            stored.size_bytes, one.calling_ae, one.called_ae, one.peer_address, number,
        ))  # fmt: skip
    database.close()


@pytest.fixture(scope="module", params=[8, pytest.param(1, marks=pytest.mark.soak)])
def bad_files(request: pytest.FixtureRequest) -> list[bytes]:
    """What pydicom tests its own reader with, where it is not large: an eighth of it, or all."""
    files = sorted(one for one in BAD_FILES.rglob("*") if one.is_file() and one.suffix != ".py")
    small = [one for one in files if one.stat().st_size < 4 * MIB]
    return [one.read_bytes() for one in small[:: request.param]]


@pytest.fixture
def hostile(tmp_path: Path, pacs: Pacs, bad_files: list[bytes]) -> Iterator[Service]:
    """A service that has these to work off from its start."""
    config = write_config(tmp_path, pacs.port, report={"heat_map": "none"})
    accept(config, [*OURS.values(), *bad_files])
    with running(Service(tmp_path, config)) as service:
        yield service


def test_hostile_files_are_answered_and_a_repeated_image_is_one(
    hostile: Service, pacs: Pacs, bad_files: list[bytes], demo_images: list[Path]
) -> None:
    pid = next(
        one["pid"] for one in hostile.events("process.started") if one["process"] == "worker-0"
    )
    worker, began = psutil.Process(pid), time.monotonic()
    rest = worker.memory_info().rss
    database = open_database(f"sqlite:///{hostile.folder}/root/hilum.sqlite")
    queue = Queue(database)
    image = make_object(demo_images[0], Form(Kind.CR, 12))

    # The same image a hundred times, over five associations at once, beside the hostile ones
    answers: list[int | None] = []

    def repeat() -> None:
        done = send([image] * 20, "127.0.0.1", hostile.port, "CR1", "HILUM")
        answers.extend(one.status for one in done)

    threads = [threading.Thread(target=repeat) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert answers == [0x0000] * 100

    def rows() -> list[JobRow]:
        return queue.rows(limit=1000)

    busy = {JobState.PENDING, JobState.RUNNING}
    until(lambda: not busy & {row.state for row in rows()}, 120, every=0.2)
    took = time.monotonic() - began
    found = {row.sop_instance_uid: row for row in rows()}
    assert len(found) == len(OURS) + len(bad_files) + 1
    mine = [row for row in rows() if row.sop_instance_uid == str(image.SOPInstanceUID)]
    assert [row.state for row in mine] == [JobState.DONE]
    for number, name in enumerate(OURS):
        row = found[f"1.2.{number}"]
        assert row.state is JobState.QUARANTINED or _refused(queue, row.id), name
        assert row.attempts == 1, name
    until(lambda: str(image.StudyInstanceUID) in _studies(pacs), 60)
    assert _studies(pacs)[str(image.StudyInstanceUID)] == 1

    peak = next(
        int(line.split()[1]) << 10
        for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmHWM" in line
    )  # fmt: skip
    assert not hostile.events("process.died")
    states = Counter(str(row.state) for row in found.values())
    seen = f"none ended the worker; {(peak - rest) / MIB:.0f} MiB more in {took:.0f} s; {states}"
    soak.record(
        soak.BOMB, tried=len(found) - 1, seen=seen, limit=f"{MAY_TAKE // MIB} MiB more",
        good=peak - rest < MAY_TAKE,
    )  # fmt: skip
    soak.record(
        soak.REPEATED, tried=100, seen="1 job, 1 report", limit="1 job, 1 report", good=True
    )
    database.close()


def _refused(queue: Queue, job: JobId) -> bool:
    try:
        result = queue.show(job).result
    except NotFound:
        return False
    return result is not None and result.status is ResultStatus.NOT_ANALYSED


def _studies(pacs: Pacs) -> Counter[str]:
    return Counter(str(one.StudyInstanceUID) for one in pacs.stored)
