"""The objects of the demo."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from classifier.decode import read_object
from classifier.errors import Undecodable
from classifier.pixels import from_dicom
from daemon.simulate import CannotSimulate, demo_objects, to_bytes
from daemon.uids import is_own

RADIOGRAPHS = Path(__file__).parents[2] / "deploy" / "demo"


def test_the_demo_sends_fifteen_objects_in_many_forms() -> None:
    objects = demo_objects(RADIOGRAPHS, Path(str(get_testdata_file("CT_small.dcm"))))
    assert len(objects) == 15
    uids = [one.sop_instance_uid for one in objects]
    assert len(set(uids)) == 14
    assert uids[0] == uids[13]
    assert to_bytes(objects[0].dataset) == to_bytes(objects[13].dataset)
    assert len({one.study_instance_uid for one in objects}) == 14
    assert len({one.dataset.file_meta.TransferSyntaxUID for one in objects[:12]}) == 11
    assert {one.dataset.BitsStored for one in objects} >= {8, 10, 12, 14, 15, 16}
    assert {one.dataset.Modality for one in objects} == {"CR", "DX"}
    assert {one.dataset.PhotometricInterpretation for one in objects} == {
        "MONOCHROME1",
        "MONOCHROME2",
    }
    assert not any(is_own(one.dataset) for one in objects)
    with pytest.raises(Undecodable):
        from_dicom(read_object(to_bytes(objects[14].dataset)))


def test_a_folder_without_radiographs_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotSimulate, match=r"labels\.csv"):
        demo_objects(tmp_path, tmp_path / "other.dcm")
