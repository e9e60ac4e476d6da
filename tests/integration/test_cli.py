"""The command line: exit statuses, one line for a fault, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.harness import Service, hilum, write_config


def test_help_names_every_command() -> None:
    shown = hilum("--help")
    assert shown.returncode == 0
    for command in (
        "serve", "check", "demo", "simulate", "queue", "train", "evaluate", "calibrate", "user"
    ):  # fmt: skip
        assert command in shown.stdout


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["serve"], ["queue", "list", "--state", "odd", "--config", "x"]]
)
def test_wrong_usage_is_status_2(arguments: list[str]) -> None:
    asked = hilum(*arguments)
    assert asked.returncode == 2
    assert "Traceback" not in asked.stderr


def test_a_wrong_setting_is_status_2_and_named(tmp_path: Path) -> None:
    config = write_config(tmp_path, None, dicom={"port": 99999})
    asked = hilum("serve", "--config", str(config))
    assert asked.returncode == 2
    assert "dicom.port = 99999" in asked.stderr
    assert "Traceback" not in asked.stderr


def test_an_unknown_job_is_status_1(tmp_path: Path, service: Service) -> None:
    from storage.database import open_database

    root = tmp_path / "root"
    root.mkdir()
    open_database(f"sqlite:///{root / 'hilum.sqlite'}").migrate(root / "backups")
    asked = service.hilum("queue", "show", "77")
    assert asked.returncode == 1
    assert "77" in asked.stderr


def test_check_before_the_first_start(tmp_path: Path) -> None:
    config = write_config(tmp_path, None)
    asked = hilum("check", "--config", str(config), "--json")
    assert asked.returncode == 1  # no PACS is configured
    found = {finding["what"]: finding for finding in json.loads(asked.stdout)}
    assert found["storage"]["good"]
    assert found["database"]["good"]
    assert found["model"]["good"]
    assert "add a [[pacs]]" in found["PACS"]["remedy"]


def test_simulate_writes_objects(tmp_path: Path, demo_images: list[Path]) -> None:
    made = hilum(
        "simulate", str(demo_images[0]), "--out", str(tmp_path), "--kind", "CR", "--bits", "10",
        "--monochrome1", "--syntax", "1.2.840.10008.1.2.4.90",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    (file,) = tmp_path.glob("*.dcm")
    dataset = dcmread(file)
    assert dataset.BitsStored == 10
    assert dataset.PhotometricInterpretation == "MONOCHROME1"
    assert dataset.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.90"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["absent.png"], "no such file"),
        (["IMAGE", "--syntax", "1.2.3"], "possible are"),
        (["IMAGE", "--port", "1"], "did not accept"),
    ],
)
def test_simulate_says_what_it_cannot(
    demo_images: list[Path], arguments: list[str], told: str
) -> None:
    named = [str(demo_images[0]) if word == "IMAGE" else word for word in arguments]
    asked = hilum("simulate", *named)
    assert asked.returncode == 1
    assert told in asked.stderr
    assert "Traceback" not in asked.stderr


def test_the_names_of_simulate_are_those_of_its_enumerations() -> None:
    from typing import get_args

    from daemon import simulate, simulate_command

    for names, kinds in (
        (simulate_command.KindName, simulate.Kind),
        (simulate_command.ModalityName, simulate.Modality),
        (simulate_command.VoiName, simulate.Voi),
        (simulate_command.DamageName, simulate.Damage),
    ):
        assert list(get_args(names)) == [str(kind) for kind in kinds]


def test_evaluate_prints_the_promised_object(demo_images: list[Path]) -> None:
    asked = hilum("evaluate", "--data", str(demo_images[0].parent), "--json")
    assert asked.returncode == 0, asked.stderr
    told = json.loads(asked.stdout)
    assert {"bundle", "images", "patients", "macro_auc", "findings"} <= set(told)
    assert (told["images"], told["patients"]) == (12, 12)
    for figures in told["findings"].values():
        promised = {"positives", "auc", "accuracy", "sensitivity", "specificity", "ece", "brier"}
        assert promised <= set(figures)
    assert set(told["macro_auc"]) == {"value", "low", "high"}


def test_evaluate_names_what_is_missing(tmp_path: Path) -> None:
    asked = hilum("evaluate", "--data", str(tmp_path), "--json")
    assert asked.returncode == 1
    assert "labels.csv" in asked.stderr
