"""labels.csv, its faults, and the fingerprint of a data set."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.radiographs import make_radiograph, part10
from training.dataset import check_split, read_dataset
from training.errors import LabelsMissing, PatientOnBothSides, TooFewCases, UnknownLabel

HEADER = "image,labels,patient\n"


def folder_of(path: Path, text: str, images: tuple[str, ...] = ("a.png", "b.png")) -> Path:
    for number, name in enumerate(images):
        Image.fromarray(np.full((8, 8), number, dtype=np.uint8)).save(path / name)
    (path / "labels.csv").write_text(text)
    return path


def test_the_demo_radiographs_are_a_data_set(demo_images: list[Path]) -> None:
    data = read_dataset(demo_images[0].parent)
    assert len(data.cases) == len(set(data.patients)) == 12
    columns = [("Nodule", "Mass"), ("Effusion",), ("No Finding",)]
    assert data.targets(columns).sum(axis=0).tolist() == [2, 2, 2]
    assert data.cases[0].columns["view"] == "PA"


def test_images_stand_in_a_folder_or_beside_and_patient_id_is_a_patient(tmp_path: Path) -> None:
    beside = folder_of(tmp_path, HEADER + "a.png,Mass|Effusion,1\nb.png,No Finding,2\n")
    flat = read_dataset(beside)
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        shutil.move(tmp_path / name, tmp_path / "images" / name)
    text = (tmp_path / "labels.csv").read_text().replace("patient", "patient_id")
    (tmp_path / "labels.csv").write_text(text)
    nested = read_dataset(tmp_path)
    assert flat.fingerprint == nested.fingerprint
    assert nested.cases[0].labels == {"Mass", "Effusion"}


def test_the_fingerprint_knows_bytes_patient_and_labels_and_no_order(tmp_path: Path) -> None:
    rows = ["a.png,Mass,1\n", "b.png,Effusion,2\n"]
    seen = set()
    for number, text in enumerate(
        [
            rows[0] + rows[1],
            rows[1] + rows[0],
            rows[0].replace("Mass", "Nodule") + rows[1],
            rows[0].replace(",1", ",3") + rows[1],
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        seen.add(read_dataset(folder_of(folder, HEADER + text)).fingerprint)
    assert len(seen) == 3


def test_a_missing_image_is_named_and_the_rest_used(tmp_path: Path) -> None:
    data = read_dataset(folder_of(tmp_path, HEADER + "a.png,Mass,1\ngone.png,Mass,2\n"))
    assert len(data.cases) == 1
    assert data.unreadable == ("gone.png: No such file or directory",)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("image,patient\na.png,1\n", LabelsMissing, "columns image.*, labels"),
        ("image,labels\na.png,Mass\n", LabelsMissing, "patient or patient_id"),
        (HEADER + "a.png,Mass,\n", LabelsMissing, "line 2: no patient"),
        (HEADER + "a.png,Mass,1\nb.png,Flu|Mass,1\n", UnknownLabel, "line 3.*Received: Flu"),
        (HEADER + "gone.png,Mass,1\n", TooFewCases, "Not one image"),
        (HEADER, TooFewCases, "names no image"),
        ("", LabelsMissing, "Received: none"),
    ],
)
def test_a_faulty_table_says_what_is_wrong(
    tmp_path: Path, text: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read_dataset(folder_of(tmp_path, text))


def test_no_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabelsMissing, match=r"labels\.csv cannot be read"):
        read_dataset(tmp_path)


def test_a_patient_on_both_sides_is_an_error() -> None:
    patients = np.array(["1", "1", "2"])
    with pytest.raises(PatientOnBothSides, match="1 patients"):
        check_split(patients, np.array([0]), np.array([1, 2]))


def test_a_single_label_set_may_have_images_without_a_patient(tmp_path: Path) -> None:
    text = "image,label,patient_id\na.png,flu,\nb.png,healthy,7\n"
    data = read_dataset(folder_of(tmp_path, text), single=True)
    assert [sorted(case.labels) for case in data.cases] == [["flu"], ["healthy"]]
    assert data.cases[1].patient == "7"
    assert data.cases[0].patient.startswith("image ")
    assert data.notes == ("1 images have no patient: each counts as a patient of its own",)
    with pytest.raises(UnknownLabel, match="flu"):
        read_dataset(tmp_path)


def test_a_single_label_set_has_one_label_an_image(tmp_path: Path) -> None:
    text = "image,label,patient_id\na.png,flu|cold,1\nb.png,healthy,7\n"
    with pytest.raises(LabelsMissing, match="line 2: not one label"):
        read_dataset(folder_of(tmp_path, text), single=True)


def test_dicom_files_are_found_by_instance(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    image = make_radiograph(np.zeros((8, 8), dtype=np.uint8))
    (tmp_path / "deep" / "one").write_bytes(part10(image))
    text = f"sop_instance_uid,labels,patient\n{image.SOPInstanceUID},Mass,1\n1.2.3,Mass,2\n"
    (tmp_path / "labels.csv").write_text(text)
    data = read_dataset(tmp_path)
    assert [case.path.name for case in data.cases] == ["one"]
    assert data.unreadable == ("1.2.3: no DICOM file of this instance",)
