"""Promise: every report passes real validators, whatever the header and its character set."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from daemon.report import build_report, encode, read_header
from daemon.simulate import Form, Kind, to_bytes
from storage.records import InstanceId, Result
from tests.reporting import (
    ANALYSED,
    CREATED_AT,
    DEVICE,
    LATERAL,
    dciodvfy,
    header,
    headers,
    study,
)

JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
NAMES = {
    "latin-1": ("ISO_IR 100", "Müller^Jörg"),
    "cyrillic": ("ISO_IR 144", "Люкceмбypг^Анна"),
    "arabic": ("ISO_IR 127", "قباني^لنزار"),
    "greek": ("ISO_IR 126", "Διονυσιος^Α"),
    "unicode": ("ISO_IR 192", JAPANESE),
    "japanese": (["", "ISO 2022 IR 87"], JAPANESE),
    "katakana": (["ISO_IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "chinese": ("GB18030", "Wang^XiaoDong=王^小东"),
    "none": (..., "Demo^Plain"),
}


def written(tmp_path: Path, *images: tuple[Dataset, Result], **options: object) -> Path:
    """The report of these images as a file; their headers are read back from files first."""
    found: dict[InstanceId, Dataset | None] = {}
    for number, (image, _) in enumerate(images, 1):
        source = tmp_path / f"image-{number}.dcm"
        source.write_bytes(to_bytes(image))
        found[InstanceId(number)] = read_header(source)
    job = study(*images, **options)  # type: ignore[arg-type]
    file = tmp_path / "report.dcm"
    file.write_bytes(encode(build_report(job, found, DEVICE, CREATED_AT)))
    return file


def dsrdump(file: Path) -> str:
    """What DCMTK reads in the report, in UTF-8."""
    done = subprocess.run(
        ["dsrdump", "+U8", "+Pc", str(file)], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"E:" not in done.stderr, done.stderr.decode()
    return done.stdout.decode()


CASES = {
    "one image": ((header(1), ANALYSED),),
    "mixed": ((header(1), ANALYSED), (header(2, Form(Kind.CR)), ANALYSED), (header(3), LATERAL)),
    "nothing analysed": ((header(1, Form(Kind.SC)), LATERAL), (header(2), LATERAL)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_report_has_no_error(case: str, tmp_path: Path) -> None:
    assert dciodvfy(written(tmp_path, *CASES[case])) == []


def test_a_second_version_has_no_error(tmp_path: Path) -> None:
    file = written(tmp_path, *CASES["mixed"], version=2, before="2.25.7")
    assert dciodvfy(file) == []


def test_a_report_without_any_header_has_no_error(tmp_path: Path) -> None:
    file = tmp_path / "report.dcm"
    job = study((header(), LATERAL))
    file.write_bytes(encode(build_report(job, {}, DEVICE, CREATED_AT)))
    assert dciodvfy(file) == []


def test_a_report_with_requests_and_issuers_has_no_error(tmp_path: Path) -> None:
    request, issuer = Dataset(), Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    issuer.LocalNamespaceEntityID = "RIS"
    image = header(
        RequestAttributesSequence=[request],
        IssuerOfPatientID="HOSP",
        IssuerOfAccessionNumberSequence=[issuer],
        TimezoneOffsetFromUTC="+0100",
    )
    file = written(tmp_path, (image, ANALYSED))
    assert dciodvfy(file) == []
    assert dcmread(file).IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"


@pytest.mark.parametrize("script", NAMES)
def test_names_keep_their_character_set(script: str, tmp_path: Path) -> None:
    character_set, name = NAMES[script]
    image = header(SpecificCharacterSet=character_set, PatientName=name)
    file = written(tmp_path, (image, ANALYSED))
    assert dciodvfy(file) == []
    report = dcmread(file)
    assert report.get("SpecificCharacterSet") == image.get("SpecificCharacterSet")
    assert report.PatientName == name
    sent = read_header(tmp_path / "image-1.dcm")
    assert report.PatientName.original_string == sent.PatientName.original_string


@pytest.mark.peer
@pytest.mark.parametrize("case", CASES)
def test_dcmtk_reads_the_report(case: str, tmp_path: Path) -> None:
    dumped = dsrdump(written(tmp_path, *CASES[case]))
    assert '<CONTAINER:(126000,DCM,"Imaging Measurement Report")' in dumped
    assert dumped.count('CONTAINER:(125007,DCM,"Measurement Group")') == sum(
        len(result.findings) or 1 for _, result in CASES[case]
    )


@pytest.mark.peer
@pytest.mark.parametrize("script", ["latin-1", "cyrillic", "arabic", "greek", "unicode"])
def test_dcmtk_reads_the_name(script: str, tmp_path: Path) -> None:
    character_set, name = NAMES[script]
    image = header(SpecificCharacterSet=character_set, PatientName=name)
    assert name in dsrdump(written(tmp_path, (image, ANALYSED)))


def test_one_header_for_all(tmp_path: Path) -> None:
    """The report of two images takes its patient from the first that can be read."""
    images = ((header(1), ANALYSED), (header(2), ANALYSED))
    found = headers(*images)
    found[InstanceId(1)] = None
    file = tmp_path / "report.dcm"
    file.write_bytes(encode(build_report(study(*images), found, DEVICE, CREATED_AT)))
    assert dciodvfy(file) == []
    assert dcmread(file).PatientID == images[1][0].PatientID
