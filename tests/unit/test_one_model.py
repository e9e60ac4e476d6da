"""A report is of one bundle at one set of thresholds, whatever was promoted meanwhile."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from daemon.one_model import others, without
from daemon.settings import Settings
from daemon.simulate import Form, Kind, Uids, make_object, to_bytes
from daemon.uids import derive_uid
from daemon.worker import Worker
from storage.records import Arrival, Finding, Result, ResultStatus, StudyJob
from tests.integration.test_statements import Sees
from tests.reporting import LATERAL, header, study
from tests.storing import Storage, open_storage


def of(bundle: str, threshold: float = 0.5) -> Result:
    found = Finding("pneumonia", "233604007", "SCT", "Pneumonia", 0.9, threshold)
    return Result(ResultStatus.ANALYSED, bundle, (found,))


def serving(version: str, threshold: float = 0.5) -> Any:
    one = Sees()
    one.version, one.thresholds = version, {"pneumonia": threshold}  # type: ignore[misc]
    return one


def job(*results: Result, version: int = 1) -> StudyJob:
    return study(*((header(n), result) for n, result in enumerate(results, 1)), version=version)


@pytest.mark.parametrize(
    ("results", "version", "mixed"),
    [
        ([of("b"), of("b")], 1, []),
        ([of("a"), of("b")], 1, [0]),
        ([of("a"), of("a")], 1, [0, 1]),  # a first report is of what serves
        ([of("a"), of("a")], 2, []),  # a later one is not made anew
        ([of("a"), of("b")], 2, [0]),
        ([of("b", 0.4), of("b")], 2, [0]),  # nor does it mix thresholds
        ([of("a"), of("c")], 2, [0, 1]),
        ([of("b"), LATERAL], 1, []),
        ([LATERAL], 1, []),
    ],
)
def test_which_images_may_not_stand_in_a_report(
    results: list[Result], version: int, mixed: list[int]
) -> None:
    one = job(*results, version=version)
    found = others(one, serving("b"))
    assert found == [one.instances[number] for number in mixed]
    left = [a for a in without(one, found).instances if a.result.bundle is not None]
    assert {(a.result.bundle, a.result.findings[0].threshold) for a in left} <= {
        ("b", 0.5),
        ("a", 0.5),
    }
    assert len({(a.result.bundle, a.result.findings[0].threshold) for a in left}) <= 1


def give(storage: Storage, image: Path, number: int) -> Arrival:
    """Accept an image of one study."""
    uids = Uids(derive_uid("one"), derive_uid("one", "1"), derive_uid("one", "1", str(number)))
    dataset = make_object(image, Form(Kind.DX, 12), uids=uids)
    stored = storage.objects.put(to_bytes(dataset))
    arrived = Arrival(
        str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), "1.2.840.10008.1.2.1",
        stored.sha256, stored.size_bytes, "DX1", "HILUM", "127.0.0.1", number,
    )  # fmt: skip
    storage.queue.accept(arrived)
    return arrived


def test_what_retention_deleted_is_named_and_not_mixed(
    tmp_path: Path, demo_images: list[Path]
) -> None:
    storage = open_storage(tmp_path)
    settings = Settings(report={"study_quiet_s": 0, "heat_map": "none"})

    def work(version: str) -> None:
        worker = Worker(
            settings, storage.objects, storage.database, serving(version), "w", clock=lambda: 9.0
        )
        while worker.step(ahead=False):
            pass

    first = give(storage, demo_images[0], 1)
    work("a")
    give(storage, demo_images[1], 2)
    storage.objects.remove([first.sha256])
    work("b")
    (row,) = storage.studies.rows()
    assert row.report_version == 2
    shown = storage.studies.show(row.study_instance_uid)
    # The first result stays in the database; the second report says that it is not repeated
    assert [a.result.bundle for a in shown.instances] == ["a", "b"]
    delivered = storage.outbox.rows()
    assert delivered == []


def test_two_workers_that_differ_agree_in_the_end(tmp_path: Path, demo_images: list[Path]) -> None:
    """One switched, one did not yet: no report comes of a mixture, and one comes when both have."""
    storage = open_storage(tmp_path)
    settings = Settings(report={"study_quiet_s": 0, "heat_map": "none"})
    old, new = (
        Worker(settings, storage.objects, storage.database, serving(v), v, clock=lambda: 9.0)
        for v in ("a", "b")
    )
    give(storage, demo_images[0], 1)
    give(storage, demo_images[1], 2)
    for _ in range(4):
        old.step(ahead=False)
        new.step(ahead=False)
    old.use(serving("b"))
    for _ in range(8):
        old.step(ahead=False)
        new.step(ahead=False)
    (row,) = storage.studies.rows()
    assert row.report_version >= 1
    shown = storage.studies.show(row.study_instance_uid)
    assert len({a.result.bundle for a in shown.instances}) == 1
    assert dataclasses.asdict(shown)["state"] == "reported"
