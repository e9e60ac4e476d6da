"""Promise: every object that we send passes real validators, and a real PACS keeps it as it is."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE

from classifier.bundle import load_bundle
from classifier.classify import Classifier
from daemon.contexts import BASIC_TEXT_SR, COMPREHENSIVE_SR, PRESENTATION_STATE
from daemon.report import encode
from daemon.report.attention import pack
from daemon.report.checks import check
from daemon.report.forms import FORMS, step_down
from daemon.report.study import HeatMap, StudyReport
from daemon.simulate import Form, Kind, make_object
from daemon.simulate.demo import FORMS as DEMO_FORMS
from storage.records import Result, ResultStatus
from tests.harness import Orthanc
from tests.reporting import (
    ANALYSED,
    LATERAL,
    PLACED,
    attended,
    dciodvfy,
    decoded,
    radiograph,
    sent,
)

PIXELMED = Path("/usr/share/java/pixelmed.jar")
NO_LIMITS = " ".join(f"-Djdk.xml.xpath{name}Limit=0" for name in ("TotalOp", "ExprOp", "ExprGrp"))

# What DicomSRValidator finds that the standard allows: context group 100 is extensible (PS3.16).
KNOWN_FAULTS = (r"399208008,SCT,\"Plain X-ray of chest\"\) not found in context group 100",)


def objects(made: StudyReport) -> list[bytes]:
    """What is sent, and the report in every other form."""
    report = decoded(made.report)
    forms = [encode(step_down(report, form)) for form in FORMS[1:]]
    return [*(one.content for one in made.companions), made.report.content, *forms]


def faults(content: bytes, file: Path) -> list[str]:
    """What the validators for an object of this kind say against it."""
    check(content)
    file.write_bytes(content)
    found = dciodvfy(file)
    sop_class = dcmread(BytesIO(content)).SOPClassUID
    if sop_class in {COMPREHENSIVE_SR, BASIC_TEXT_SR}:
        found += _run("dsrdump", str(file))
    if sop_class == PRESENTATION_STATE:
        found += _run("dcmpschk", str(file))
    return found


def _run(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    failed = [f"{command[0]}: {line}" for line in lines if line.startswith(("E:", "F:"))]
    return failed if not done.returncode else [*failed, f"{command[0]}: {done.returncode}"]


CASES = {
    "one image": ((radiograph(1), attended(PLACED)),),
    "CR, inverted": (
        (radiograph(1, Form(Kind.CR, inverted=True)), attended(PLACED)),
        (radiograph(2), LATERAL),
    ),
    "two flagged": (
        (radiograph(1), attended(PLACED)),
        (radiograph(2, Form(Kind.CR)), attended(PLACED, at=(9, 4))),
    ),
    "no maps": ((radiograph(1), ANALYSED),),
}
NAMES = {
    "latin-1": ("ISO_IR 100", "Müller^Jörg"),
    "cyrillic": ("ISO_IR 144", "Люкceмбypг^Анна"),
    "arabic": ("ISO_IR 127", "قباني^لنزار"),
    "unicode": ("ISO_IR 192", "Müller^Jörg"),
    "japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
}


@pytest.mark.peer
@pytest.mark.parametrize("heat_map", ["sc", "gsps", "none"])
@pytest.mark.parametrize("case", CASES)
def test_every_object_has_no_error(case: str, heat_map: HeatMap, tmp_path: Path) -> None:
    for content in objects(sent(*CASES[case], heat_map=heat_map)):
        assert faults(content, tmp_path / "object.dcm") == []


@pytest.mark.peer
@pytest.mark.parametrize("heat_map", ["sc", "gsps"])
@pytest.mark.parametrize("script", NAMES)
def test_every_object_keeps_the_name_byte_for_byte(
    script: str, heat_map: HeatMap, tmp_path: Path
) -> None:
    character_set, name = NAMES[script]
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "2.16.840.1", "ISO"
    image = radiograph(
        1,
        SpecificCharacterSet=character_set,
        PatientName=name,
        IssuerOfPatientID="HOSPITAL",
        IssuerOfPatientIDQualifiersSequence=[issuer],
    )
    made = sent((image, attended(PLACED)), heat_map=heat_map)
    for content in objects(made):
        assert faults(content, tmp_path / "object.dcm") == []
        again = dcmread(BytesIO(content))
        assert again.SpecificCharacterSet == image.SpecificCharacterSet
        assert again.PatientName == name
        assert again.IssuerOfPatientID == "HOSPITAL"
        (kept,) = again.IssuerOfPatientIDQualifiersSequence
        assert kept.UniversalEntityID == "2.16.840.1"


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(load_bundle("default"), "f32")


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.parametrize("number", range(12))
def test_the_demo_radiographs_objects_have_no_error(
    number: int, demo_images: list[Path], classifier: Classifier, tmp_path: Path
) -> None:
    image = make_object(demo_images[number], DEMO_FORMS[number])
    found = classifier.classify(image)
    result = Result(
        ResultStatus.ANALYSED,
        classifier.version,
        found.findings,
        attention=pack(found.maps, found.placement),
    )
    heat_map: HeatMap = "gsps" if number % 3 == 2 else "sc"
    made = sent((image, result), heat_map=heat_map)
    assert made.faults == ()
    for content in objects(made):
        assert faults(content, tmp_path / "object.dcm") == []


@pytest.mark.peer
@pytest.mark.slow
def test_pixelmed_finds_known_faults_alone(tmp_path: Path) -> None:
    if not PIXELMED.exists():
        pytest.skip("needs Debian's libpixelmed-java")
    file = tmp_path / "report.dcm"
    file.write_bytes(sent(*CASES["CR, inverted"]).report.content)
    validator = "com.pixelmed.validate.DicomSRValidator"
    done = subprocess.run(
        ["java", "-cp", f"{PIXELMED.parent}/*", validator, str(file)],
        env=os.environ | {"JAVA_TOOL_OPTIONS": NO_LIMITS},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    lines = (done.stdout + done.stderr).splitlines()
    assert "Found Root Template TID_1500 (MeasurementReport)" in lines
    assert "Root Template Validation Complete" in lines
    errors = [line for line in lines if line.startswith("Error")]
    assert [one for one in errors if not any(re.search(k, one) for k in KNOWN_FAULTS)] == []


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Orthanc]:
    peer = Orthanc(tmp_path / "orthanc").start()
    yield peer
    peer.stop()


@pytest.mark.peer
def test_orthanc_keeps_each_object_as_it_is_and_once(pacs: Orthanc) -> None:
    contents = [
        *objects(sent(*CASES["CR, inverted"])),
        sent(*CASES["CR, inverted"], heat_map="gsps").companions[0].content,
    ]
    send(pacs, contents)
    send(pacs, contents)
    held = pacs.get("/instances")
    assert len(held) == len(contents)
    found = {}
    for instance in held:
        again = dcmread(BytesIO(pacs.raw(f"/instances/{instance}/file")))
        found[again.SOPInstanceUID] = again
    for content in contents:
        original = dcmread(BytesIO(content))
        assert found[original.SOPInstanceUID] == original


def send(pacs: Orthanc, contents: list[bytes]) -> None:
    entity = AE("HILUM")
    datasets = [dcmread(BytesIO(content)) for content in contents]
    for sop_class in sorted({dataset.SOPClassUID for dataset in datasets}):
        entity.add_requested_context(sop_class, datasets[0].file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", pacs.dicom_port)
    assert association.is_established
    for dataset in datasets:
        assert association.send_c_store(dataset).Status == 0
    association.release()
