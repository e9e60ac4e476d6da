"""`hilum labels import` and `hilum holdout`, as an administrator types them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.report_labels import WrongLabels, read_labels
from storage.holdout import Holdouts
from storage.labelled import Labelled, UnknownAccessions
from tests.harness import hilum
from tests.learning import Hospital, open_hospital

HEAD = "accession_number,finding,present\n"


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    made = open_hospital(tmp_path_factory.mktemp("hospital"), 1)
    yield made
    made.database.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (HEAD + "A1,pneumonia,1\nZ9,pneumonia,0\nZ8,atelectasis,1\n", ["Z8, Z9"]),
        (HEAD + "A1,scurvy,1\n", ["line 2", "scurvy", "pleural_effusion"]),
        (HEAD + "A1,pneumonia,maybe\n", ["line 2", "present is 1 or 0"]),
        (HEAD + ",pneumonia,1\n", ["no accession number"]),
        (HEAD + "A1,pneumonia,1\nA1,pneumonia,0\n", ["line 3", "said otherwise before"]),
        (HEAD + "A1,pneumonia\n", ["line 2", "present is 1 or 0"]),
        ("accession,finding\nA1,pneumonia\n", ["needs the columns", "accession, finding"]),
        (HEAD, ["has no label"]),
        ("", ["needs the columns", "none"]),
        ("\xff\xfe", ["no CSV in UTF-8"]),
    ],
)
def test_a_wrong_file_is_named_and_nothing_of_it_is_imported(
    hospital: Hospital, tmp_path: Path, text: str, told: list[str]
) -> None:
    file = tmp_path / "labels.csv"
    file.write_bytes(text.encode("latin-1"))
    labelled = Labelled(hospital.database)
    with pytest.raises((WrongLabels, UnknownAccessions)) as error:
        labelled.import_reports(read_labels(file, hospital.database), "ada", 3.0)
    assert "Nothing was imported" in str(error.value) or str(file) in str(error.value)
    for part in told:
        assert part in str(error.value)
    assert not any(image.report for image in labelled.images())


def test_unknown_accession_numbers_are_listed_for_whoever_typed_the_command(
    hospital: Hospital, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    file.write_text(HEAD + "A1,pneumonia,1\nZ9,pneumonia,0\nZ8,atelectasis,1\n")
    done = hilum("labels", "import", str(file), "--config", str(hospital.config))
    assert done.returncode == 1
    assert "no study has the accession number Z8, Z9" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(image.report for image in Labelled(hospital.database).images())


def test_labels_are_imported_and_the_hold_out_is_drawn_anew_by_name(
    hospital: Hospital, tmp_path: Path
) -> None:
    file = tmp_path / "labels.csv"
    rows = [f"A{number},pneumonia,{number % 2}" for number in range(12)]
    file.write_text("\ufeff" + HEAD + "\r\n".join(rows), encoding="utf-8")
    config = ("--config", str(hospital.config), "--json")
    done = hilum("labels", "import", str(file), *config)
    found = {"studies": 12, "labels": 12, "changed": 0, "left_out": []}
    assert json.loads(done.stdout) == found, done.stderr
    images = Labelled(hospital.database).images()
    assert [image.report for image in images[:2]] == [{"pneumonia": False}, {"pneumonia": True}]
    assert len(Holdouts(hospital.database).members()) == 12

    refused = hilum("holdout", "refresh", "--by", " ", "--reason", "new", *config)
    assert refused.returncode == 1
    done = hilum("holdout", "refresh", "--by", "Ada Low", "--reason", "a new scanner", *config)
    assert done.returncode == 0, done.stderr
    found = json.loads(hilum("holdout", "show", *config).stdout)
    assert found["actor"].endswith("for Ada Low")
    assert found["held_out"] + found["free"] == 12
