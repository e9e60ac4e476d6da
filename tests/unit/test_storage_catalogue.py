"""The objects of a study, found by index; and studies searched by what another system knows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from storage.catalogue import Catalogue
from storage.errors import ObjectDamaged, ObjectMissing
from storage.headers import ImageHeader
from storage.objects import VerifiedObjects
from storage.records import NewObject
from storage.study_search import StudyKeys, search_studies
from tests.storing import Storage, analysed, arrival, new_report, open_storage, sha256
from tests.unit.test_storage_plans import plans
from tests.unit.test_storage_worklist import take

SC = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path)


def fill(storage: Storage) -> None:
    """Two studies of one image, and of the first a report with a picture."""
    cr = ImageHeader("5.1", modality="CR", series_number=1, metadata=b"x")
    dx = dataclasses.replace(cr, series_instance_uid="5.2", modality="DX")
    take(storage, "9.1", analysed(), 1, header=cr, patient_name="Doe^Jane^^^", patient_id="P%1",
         study_date="20250301", study_time="101500", referring_physician="Ref^Erring")  # fmt: skip
    study = storage.studies.claim_due("w1", 60, 2e9)
    assert study is not None
    picture = NewObject("7.2", SC, sha256("7.2"), 9, ImageHeader("5.4", modality="OT"))
    made = dataclasses.replace(
        new_report("7.1"), header=ImageHeader("5.3", modality="SR"), companions=(picture,)
    )
    storage.studies.reported(study, made, ["a"], 2e9)
    take(storage, "9.2", analysed(), 2, header=dx, patient_name="Doe^Janet=王^小東",
         patient_id="PX1", study_date="20240229")  # fmt: skip


def test_a_study_has_what_came_and_what_was_made_of_it(storage: Storage) -> None:
    fill(storage)
    catalogue = Catalogue(storage.database)
    objects = catalogue.objects("9.1")
    assert [(one.sop_instance_uid, one.own) for one in objects] == [
        ("9.1.1", False), ("7.1", True), ("7.2", True),
    ]  # fmt: skip
    assert [one.header.metadata for one in objects] == [None] * 3
    assert catalogue.objects("9.1", metadata=True)[0].header.metadata == b"x"
    assert [one.sop_instance_uid for one in catalogue.objects("9.1", own=False)] == ["9.1.1"]
    assert [one.sop_instance_uid for one in catalogue.objects("9.1", "5.3")] == ["7.1"]
    assert [one.sop_instance_uid for one in catalogue.objects("9.1", "5.4", "7.2")] == ["7.2"]
    for elsewhere in (("9.2", "5.1"), ("9.1", "5.1", "7.1"), ("9.404",)):
        assert catalogue.objects(*elsewhere) == ()


@pytest.mark.sqlite
def test_objects_are_found_by_index(storage: Storage) -> None:
    fill(storage)
    catalogue = Catalogue(storage.database)
    for found in plans(storage, lambda: catalogue.objects("9.1", "5.1", "9.1.1", metadata=True)):
        assert all(step.startswith(("SEARCH", "USE TEMP")) for step in found), found


def test_of_two_under_one_uid_the_first_is_given(storage: Storage) -> None:
    take(storage, "9.1", analysed(), 1, header=ImageHeader("5.1"))
    storage.queue.accept(arrival("9.1.1", "other pixels", 2))
    (conflict,) = [row for row in storage.queue.rows() if row.reason_code == "uid_conflict"]
    storage.queue.retry_by_hand(conflict.id, 3)
    job = storage.queue.claim("w1", 60, 1e9)
    assert job is not None
    storage.queue.finish(job, analysed(), "9.1", 0, 1e9)
    (given,) = Catalogue(storage.database).objects("9.1")
    assert given.sha256 == sha256("9.1.1")


def found(storage: Storage, *, own: bool = True, **values: str) -> list[str]:
    keys = StudyKeys(values=values)
    matches, more = search_studies(storage.database, keys, 10, own=own)
    assert not more
    return [match.study_instance_uid for match in matches]


def test_studies_are_matched_as_the_standard_says(storage: Storage) -> None:
    fill(storage)
    for values, expected in (
        ({}, ["9.2", "9.1"]),
        ({"patient_name": "doe^jane"}, ["9.1"]),
        ({"patient_name": "DOE^JANE*"}, ["9.2", "9.1"]),
        ({"patient_name": "doe^jane?"}, ["9.2"]),
        ({"patient_name": "*小東"}, ["9.2"]),
        ({"patient_name": "Doe^Janet=王^小東"}, ["9.2"]),
        ({"patient_name": "jane"}, []),
        ({"patient_name": ".*"}, []),
        ({"referring_physician": "ref*"}, ["9.1"]),
        ({"patient_id": "P%1"}, ["9.1"]),
        ({"patient_id": "P?1"}, ["9.2", "9.1"]),
        ({"patient_id": "P%*"}, ["9.1"]),
        ({"patient_id": "_*"}, []),
        ({"study_date": "20250301"}, ["9.1"]),
        ({"study_date": "-20250228"}, ["9.2"]),
        ({"study_date": "20240301-"}, ["9.1"]),
        ({"study_date": "20240101-20251231"}, ["9.2", "9.1"]),
        ({"study_time": "10-10"}, ["9.1"]),
        ({"study_time": "-1014"}, []),
    ):
        assert found(storage, **values) == expected, values


def test_a_match_counts_its_objects(storage: Storage) -> None:
    fill(storage)
    keys = StudyKeys(study_uids=frozenset({"9.1"}))
    ((match,), _) = search_studies(storage.database, keys, 10)
    assert (match.modalities, match.series, match.instances) == (("CR", "OT", "SR"), 3, 3)
    ((match,), _) = search_studies(storage.database, keys, 10, own=False)
    assert (match.modalities, match.series, match.instances) == (("CR",), 1, 1)
    for modality, expected in (("CR", ["9.1"]), ("DX", ["9.2"]), ("SR", ["9.1"]), ("MR", [])):
        keys = StudyKeys(modalities=frozenset({modality}))
        matches, _ = search_studies(storage.database, keys, 10)
        assert [match.study_instance_uid for match in matches] == expected


def test_matches_come_by_limit_and_offset(storage: Storage) -> None:
    for number in range(7):
        take(storage, f"9.{number}", analysed(), number, patient_name=f"Doe^{number % 2}")
    seen = []
    for offset in range(0, 4, 2):
        keys = StudyKeys(values={"patient_name": "doe^0"})
        matches, more = search_studies(storage.database, keys, 2, offset)
        assert more == (offset == 0)
        seen += [match.study_instance_uid for match in matches]
    assert seen == ["9.6", "9.4", "9.2", "9.0"]


def test_a_file_is_hashed_once_and_again_when_it_changed(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    kept = storage.objects.put(b"bytes" * 1000)
    verified = VerifiedObjects(storage.objects)
    path = verified.path(kept.sha256)
    assert path.read_bytes() == b"bytes" * 1000
    assert verified.path(kept.sha256) == path
    path.write_bytes(b"bytez" * 1000)
    with pytest.raises(ObjectDamaged):
        verified.path(kept.sha256)
    storage.objects.put(b"bytes" * 1000)  # sent again: sound again
    assert verified.path(kept.sha256) == path
    path.unlink()
    with pytest.raises(ObjectMissing):
        verified.path(kept.sha256)
