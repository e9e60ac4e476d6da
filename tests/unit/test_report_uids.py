"""UIDs of our own, and the loop guard."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from daemon.report import build_report
from daemon.simulate import Form, Kind, make_object
from daemon.uids import IMPLEMENTATION_CLASS_UID, MODEL_NAME, derive_uid, is_own
from tests.reporting import ANALYSED, CREATED_AT, DEVICE, header, headers, study


def test_a_uid_follows_from_its_parts_alone() -> None:
    assert derive_uid("a", "b") == derive_uid("a", "b")
    # fixed for ever: another value would duplicate every report in the PACS
    assert derive_uid("a", "b") == "2.25.77266692733952395226930570498542942747"
    made = {derive_uid(*parts) for parts in (("a", "b"), ("ab",), ("b", "a"), ("a", "b", ""), ())}
    assert len(made) == 5
    assert all(UID(uid).is_valid and len(uid) <= 64 for uid in made)
    assert UID(IMPLEMENTATION_CLASS_UID).is_valid


def test_our_own_objects_are_known() -> None:
    image = (header(), ANALYSED)
    report = build_report(study(image), headers(image), DEVICE, CREATED_AT)
    assert is_own(report)
    heat_map = make_object(np.zeros((8, 8), dtype=np.uint8), Form(Kind.SC))
    heat_map.ManufacturerModelName = MODEL_NAME
    heat_map.ImageType = ["DERIVED", "SECONDARY", "OTHER", "GRADCAM"]
    assert is_own(heat_map)
    derived = Dataset()
    derived.ContributingEquipmentSequence = report.ContributingEquipmentSequence
    assert is_own(derived)


def test_images_of_others_are_not_ours() -> None:
    for kind in Kind:
        assert not is_own(make_object(np.zeros((8, 8), dtype=np.uint8), Form(kind)))
    foreign = Dataset()
    foreign.Modality, foreign.ManufacturerModelName = "SR", "Other CAD"
    assert not is_own(foreign)
    assert not is_own(Dataset())
