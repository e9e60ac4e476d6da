"""A database of a release that kept no headers: everything is listed at once, and read later."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydicom.dataset import Dataset

from daemon.headers import Backlog
from daemon.simulate import Form, Kind, Patient, make_object
from storage.catalogue import Catalogue
from storage.headers import HeaderState
from storage.migrations import MIGRATIONS
from storage.schema import image_header, own_header, study_finding, study_header
from storage.worklist import Query, Worklist
from tests.received import receive
from tests.storing import Storage, open_storage


def images(demo_images: list[Path]) -> list[Dataset]:
    made = [
        make_object(demo_images[number], Form(Kind.DX, 12), Patient(f"Doe^{number}", f"P-{number}"))
        for number in range(3)
    ]
    return [*made, make_object(demo_images[3], Form(Kind.CR, 12, view="LL"), Patient("Doe^L"))]


def test_what_an_older_release_took_is_listed_and_then_read(
    tmp_path: Path, demo_images: list[Path]
) -> None:
    storage = open_storage(tmp_path)
    receive(storage, images(demo_images))
    worklist = Worklist(storage.database)
    full = worklist.page(Query()).rows
    objects = {
        row.study_instance_uid: Catalogue(storage.database).objects(
            row.study_instance_uid, metadata=True
        )
        for row in full
    }
    migrate_again(storage, tmp_path)

    listed = worklist.page(Query()).rows
    assert [row.study_instance_uid for row in listed] == [row.study_instance_uid for row in full]
    for now, then in zip(listed, full, strict=True):
        assert now.header_state is HeaderState.MISSING
        for name in ("images", "not_analysed", "flagged", "top_probability", "top_finding",
                     "first_received_at", "reviewed_at"):  # fmt: skip
            assert getattr(now, name) == getattr(then, name), name
    flagged = {row.top_finding for row in full if row.flagged}
    for finding in flagged:
        assert worklist.page(Query(finding=finding)).rows

    backlog = Backlog(storage.database, storage.objects)
    steps = 0
    while backlog.step():
        steps += 1
        assert steps < 100
    assert worklist.page(Query()).rows == full
    for uid, expected in objects.items():
        assert Catalogue(storage.database).objects(uid, metadata=True) == expected
    assert not Backlog(storage.database, storage.objects).step()


def migrate_again(storage: Storage, folder: Path) -> None:
    """Take the tables of 0004 and later away, and run the migrations from 0003 on."""
    with storage.database.write() as connection:
        for table in (image_header, own_header, study_finding, study_header):
            connection.exec_driver_sql(f"DROP TABLE {table.name}")
    scripts = folder / "only"
    shutil.copytree(MIGRATIONS, scripts)
    for file in (scripts / "versions").glob("[0-9]*.py"):
        if file.name[:4] > "0004":
            file.unlink()
    with storage.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0003'")
    storage.database.migrate(folder / "backups", scripts=scripts)


def test_a_file_that_is_gone_leaves_the_study_listed(
    tmp_path: Path, demo_images: list[Path]
) -> None:
    storage = open_storage(tmp_path)
    receive(storage, images(demo_images)[:2])
    worklist = Worklist(storage.database)
    gone = worklist.page(Query()).rows[0]
    (image,) = worklist.images(gone.study_instance_uid)
    migrate_again(storage, tmp_path)
    storage.objects.path(image.instance.arrival.sha256).unlink()
    backlog = Backlog(storage.database, storage.objects)
    while backlog.step():
        pass
    states = {row.study_instance_uid: row.header_state for row in worklist.page(Query()).rows}
    assert states.pop(gone.study_instance_uid) is HeaderState.MISSING
    assert set(states.values()) == {HeaderState.READ}
