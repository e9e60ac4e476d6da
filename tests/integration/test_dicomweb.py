"""DICOMweb over what came by the network: a real client asks, and what it gets is what was sent."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from daemon.simulate import Form, Kind, Patient, make_object, to_bytes
from storage.audit import Audit, AuditQuery
from storage.people import Action, Role, Scope
from storage.worklist import Query, Worklist
from tests.pages import Pages, open_pages
from tests.received import on_a_port, receive

SYNTAXES = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGLosslessSV1,
    JPEGLSLossless, JPEG2000Lossless, RLELossless,
)  # fmt: skip
NAME = "Müller^Änne=王^小東"
SR = "1.2.840.10008.5.1.4.1.1.88.33"


@dataclass
class Served:
    """Studies in the store, and the pages on a port of their own."""

    pages: Pages
    url: str
    token: str
    images: dict[UID, Dataset]  # of one study, by transfer syntax
    other: Dataset  # a child's, which the model may not judge

    @property
    def study(self) -> str:
        return str(self.images[ExplicitVRLittleEndian].StudyInstanceUID)

    def path(self, image: Dataset) -> str:
        """Where an image is retrieved."""
        return (
            f"/dicomweb/studies/{image.StudyInstanceUID}/series/{image.SeriesInstanceUID}"
            f"/instances/{image.SOPInstanceUID}"
        )

    def get(self, path: str, accept: str | None = None, **headers: str) -> httpx.Response:
        headers |= {"Authorization": f"Bearer {self.token}"} | (
            {"Accept": accept} if accept else {}
        )
        return httpx.get(self.url + path, headers=headers)

    @property
    def client(self) -> DICOMwebClient:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.token}"
        return DICOMwebClient(f"{self.url}/dicomweb", session=session)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, demo_images: list[Path]) -> Iterator[Served]:
    images: dict[UID, Dataset] = {}
    for number, syntax in enumerate(SYNTAXES):
        form = Form(Kind.DX, 12, transfer_syntax=syntax)
        image = make_object(demo_images[2], form, Patient(id="P-7", accession="A-7"))
        image.SpecificCharacterSet = "ISO_IR 192"
        image.PatientName, image.InstanceNumber = NAME, number + 1
        image.StationName = "CR-1"
        images[syntax] = image
    other = make_object(demo_images[1], Form(Kind.CR, 12), Patient("Doe^Jane", "P-8"))
    other.StudyDate, other.PatientAge = "20240229", "007Y"
    with open_pages(tmp_path_factory.mktemp("dicomweb")) as pages:
        receive(pages.storage, [*images.values(), other])
        account = pages.account(Role.RADIOLOGIST)
        _, token = pages.gate.tokens.make(account.id, "t", [Scope.STUDIES], None, pages.clock())
        with on_a_port(pages.app) as url:
            yield Served(pages, url, token, images, other)


# -- searching ---------------------------------------------------------------------------------


def test_a_client_finds_the_study_by_each_key(served: Served) -> None:
    client = served.client
    for keys in (
        {"PatientID": "P-7"},
        {"00100020": "P-7"},
        {"PatientName": "müller*"},
        {"PatientName": "*小東"},
        {"PatientName": "Müller^Änne"},
        {"AccessionNumber": "A-?"},
        {"StudyDate": "20250301"},
        {"StudyDate": "20250101-"},
        {"StudyDate": "20250228-20250302"},
        {"ModalitiesInStudy": "DX"},
        {"StudyInstanceUID": served.study},
        {"StudyInstanceUID": f"1.2.3,{served.study}"},
        {"StudyTime": "10-11", "PatientID": "P-7"},
    ):
        found = client.search_for_studies(search_filters=keys)
        assert [one["0020000D"]["Value"][0] for one in found] == [served.study], keys
    for keys in ({"PatientName": "müller"}, {"StudyDate": "-20231231"}, {"PatientID": "P"}):
        assert client.search_for_studies(search_filters=keys) == [], keys


def test_a_study_is_described_with_what_is_made_of_it(served: Served) -> None:
    (found,) = served.client.search_for_studies(search_filters={"PatientID": "P-7"})
    dataset = Dataset.from_json(found)
    assert str(dataset.PatientName) == NAME
    assert dataset.NumberOfStudyRelatedSeries == len(served.client.search_for_series(served.study))
    instances = served.client.search_for_instances(served.study)
    assert dataset.NumberOfStudyRelatedInstances == len(instances)
    assert set(dataset.ModalitiesInStudy) >= {"DX", "SR"}
    (plain,) = served.get("/dicomweb/studies?PatientID=P-7").json()
    assert plain["00081190"]["Value"] == [f"{served.url}/dicomweb/studies/{served.study}"]
    classes = [one["00080016"]["Value"][0] for one in instances]
    assert classes.count(SR) == 1


def test_results_come_by_pages_with_a_warning(served: Served) -> None:
    first = served.get("/dicomweb/studies?limit=1")
    second = served.get("/dicomweb/studies?limit=1&offset=1")
    assert "more results" in first.headers["warning"]
    assert "warning" not in second.headers
    uids = {answer.json()[0]["0020000D"]["Value"][0] for answer in (first, second)}
    assert uids == {served.study, str(served.other.StudyInstanceUID)}
    assert served.get("/dicomweb/studies?offset=2").json() == []


def test_fuzzy_matching_is_declined_with_a_warning(served: Served) -> None:
    answer = served.get("/dicomweb/studies?PatientID=P-7&fuzzymatching=true")
    assert "fuzzymatching" in answer.headers["warning"]
    assert len(answer.json()) == 1


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("PatientNam=x", "PatientNam"),
        ("00101030=70", "00101030"),
        ("limit=many", "limit"),
        ("offset=-1", "offset"),
        ("StudyDate=yesterday", "StudyDate"),
        ("StudyInstanceUID=abc", "StudyInstanceUID"),
        ("includefield=NoSuchThing", "includefield"),
        ("PatientID=a&00100020=b", "PatientID"),
    ],
)
def test_a_wrong_key_is_named(served: Served, query: str, named: str) -> None:
    answer = served.get(f"/dicomweb/studies?{query}")
    assert answer.status_code == 400
    assert named in answer.json()["detail"]


def test_series_and_instances_are_narrowed(served: Served) -> None:
    client = served.client
    series = client.search_for_series(served.study, search_filters={"Modality": "SR"})
    assert len(series) == 1
    found = client.search_for_instances(served.study, search_filters={"InstanceNumber": "3"})
    wanted = served.images[ExplicitVRBigEndian].SOPInstanceUID
    assert [one["00080018"]["Value"][0] for one in found if one["00080060"]["Value"] == ["DX"]] == [
        wanted
    ]
    assert client.search_for_series("1.2.3") == []
    more = client.search_for_instances(
        served.study, search_filters={"SOPClassUID": SR}, fields=["ContentDate"]
    )
    assert "00080023" in more[0]


# -- retrieving --------------------------------------------------------------------------------


def test_a_study_comes_back_byte_for_byte(served: Served) -> None:
    answer = served.get(
        f"/dicomweb/studies/{served.study}",
        'multipart/related; type="application/dicom"; transfer-syntax=*',
    )
    assert int(answer.headers["content-length"]) == len(answer.content)
    parts = split(answer)
    stored = {
        image.instance.arrival.sha256
        for image in Worklist(served.pages.storage.database).images(served.study)
    }
    assert stored <= {hashlib.sha256(content).hexdigest() for _, content in parts}
    for head, content in parts:
        dataset = dcmread(BytesIO(content))
        assert dataset.StudyInstanceUID == served.study
        assert f"transfer-syntax={dataset.file_meta.TransferSyntaxUID}" in head


def test_a_client_retrieves_objects_and_reads_the_same_pixels(served: Served) -> None:
    client = served.client
    for syntax, image in served.images.items():
        got = client.retrieve_instance(
            served.study,
            image.SeriesInstanceUID,
            image.SOPInstanceUID,
            media_types=(("application/dicom", "*"),),
        )
        assert got.file_meta.TransferSyntaxUID == syntax
        assert str(got.PatientName) == NAME
        sent = dcmread(BytesIO(to_bytes(image)))
        assert np.array_equal(got.pixel_array, sent.pixel_array)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_frames_are_what_is_stored(served: Served, syntax: UID) -> None:
    image = served.images[syntax]
    answer = served.get(f"{served.path(image)}/frames/1", 'multipart/related; type="*/*"')
    ((head, content),) = split(answer)
    if syntax.is_encapsulated:
        assert content == get_frame(image.PixelData, 0, number_of_frames=1)
    else:
        assert content == image.PixelData
    assert f"transfer-syntax={syntax}" in head
    client = served.client
    uids = (served.study, image.SeriesInstanceUID, image.SOPInstanceUID)
    assert client.retrieve_instance_frames(*uids, [1])[0] == content


def test_a_transcoding_is_declined_in_words(served: Served) -> None:
    compressed = served.path(served.images[JPEG2000Lossless])
    big_endian = served.path(served.images[ExplicitVRBigEndian])
    octets = 'multipart/related; type="application/octet-stream"'
    explicit = f"transfer-syntax={ExplicitVRLittleEndian}"
    for path, accept in (
        (f"{compressed}/frames/1", octets),
        (f"{compressed}/frames/1", 'multipart/related; type="image/jpeg"'),
        (compressed, f'multipart/related; type="application/dicom"; {explicit}'),
        (f"{big_endian}/frames/1", octets),
    ):
        answer = served.get(path, accept)
        assert answer.status_code == 406, accept
        assert "Nothing is transcoded" in answer.json()["detail"]
    for path in (compressed, f"{compressed}/metadata", "/dicomweb/studies"):
        assert served.get(path, "image/png").status_code == 406


@pytest.mark.parametrize(
    ("frames", "status"), [("2", 404), ("0", 404), ("x", 400), ("1,", 400), ("1," * 600 + "1", 400)]
)
def test_frames_that_are_not_there_are_refused(served: Served, frames: str, status: int) -> None:
    path = served.path(served.images[ExplicitVRLittleEndian])
    assert served.get(f"{path}/frames/{frames}").status_code == status


def test_a_report_has_no_frames(served: Served) -> None:
    (report,) = served.client.search_for_instances(served.study, search_filters={"SOPClassUID": SR})
    url = report["00081190"]["Value"][0]
    answer = served.get(path_of(url) + "/frames/1")
    assert answer.status_code == 404


def test_metadata_is_the_dataset_without_its_pixels(served: Served) -> None:
    client = served.client
    for image in (*served.images.values(), served.other):
        uids = (image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID)
        found = client.retrieve_instance_metadata(*uids)
        assert "InlineBinary" not in found["7FE00010"]
        uri = found["7FE00010"].pop("BulkDataURI")
        assert client.retrieve_bulkdata(served.url + path_of(uri))
        dataset = Dataset.from_json(found)
        for element in dcmread(BytesIO(to_bytes(image)), stop_before_pixels=True):
            if element.keyword != "SpecificCharacterSet":
                assert dataset[element.tag].value == element.value, element.keyword
    assert len(client.retrieve_study_metadata(served.study)) == len(
        client.search_for_instances(served.study)
    )


def test_what_is_not_there_is_not_found(served: Served) -> None:
    image = served.path(served.images[ExplicitVRLittleEndian])
    for path in (
        "/dicomweb/studies/1.2.3",
        "/dicomweb/studies/1.2.3/metadata",
        f"/dicomweb/studies/{served.study}/series/1.2.3",
        f"{image}1",
        f"{image}1/file",
        f"{image}1/frames/1",
        "/dicomweb/studies/..%2f..%2fetc/metadata",
    ):
        assert served.get(path).status_code == 404, path


# -- the file, for the viewer ------------------------------------------------------------------


def test_a_file_has_a_length_and_ranges(served: Served) -> None:
    image = served.images[ExplicitVRLittleEndian]
    path = f"{served.path(image)}/file"
    whole = served.get(path)
    assert whole.headers["content-type"] == "application/dicom"
    assert whole.headers["accept-ranges"] == "bytes"
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert dcmread(BytesIO(whole.content)).PixelData == image.PixelData
    some = served.get(path, Range="bytes=100-1099")
    assert (some.status_code, some.content) == (206, whole.content[100:1100])
    assert some.headers["content-range"] == f"bytes 100-1099/{len(whole.content)}"
    last = served.get(path, Range="bytes=-10")
    assert (last.status_code, last.content) == (206, whole.content[-10:])
    rest = served.get(path, Range=f"bytes={len(whole.content) - 5}-")
    assert rest.content == whole.content[-5:]
    beyond = served.get(path, Range=f"bytes={len(whole.content)}-")
    assert beyond.status_code == 416
    tag = whole.headers["etag"]
    assert served.get(path, **{"If-None-Match": tag}).status_code == 304
    changed = served.get(path, Range="bytes=0-9", **{"If-Range": '"other"'})
    assert changed.status_code == 200
    assert whole.headers["cache-control"] == "no-store"


def test_dcmtk_reads_what_comes(served: Served, tmp_path: Path) -> None:
    for number, image in enumerate(served.images.values()):
        file = tmp_path / f"{number}.dcm"
        file.write_bytes(served.get(f"{served.path(image)}/file").content)
        dumped = subprocess.run(
            ["dcmdump", "+P", "SOPInstanceUID", str(file)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert str(image.SOPInstanceUID) in dumped.stdout


@pytest.mark.alone
def test_the_first_image_of_ten_megabytes_comes_within_a_second(
    served: Served, demo_images: list[Path]
) -> None:
    rng = np.random.default_rng(1)
    large = np.clip(rng.normal(2000, 300, (2400, 2100)), 0, 4095).astype(np.uint16) * 16
    image = make_object(large, Form(Kind.DX, 12), Patient("Large^One", "P-9"))
    receive(served.pages.storage, [image])
    started = time.perf_counter()
    answer = served.get(f"{served.path(image)}/file")
    took = time.perf_counter() - started
    assert len(answer.content) > 10_000_000
    assert took < 1.0
    del demo_images


# -- what must not happen ----------------------------------------------------------------------


def test_reading_is_written_down_once_a_minute(served: Served) -> None:
    audit = Audit(served.pages.storage.database)
    query = AuditQuery(action="study.read", subject=str(served.other.StudyInstanceUID))
    served.pages.clock.now += 120
    before = len(audit.search(query, 1000))
    for _ in range(3):
        served.get(f"{served.path(served.other)}/frames/1")
        served.get(f"{served.path(served.other)}/file", Range="bytes=0-9")
    assert len(audit.search(query, 1000)) == before + 1
    searched = audit.search(AuditQuery(action="worklist.searched"), 1)
    served.get("/dicomweb/studies?PatientName=Doe*")
    (latest,) = audit.search(AuditQuery(action="worklist.searched"), 1)
    assert (latest,) != searched
    assert "Doe" not in str(latest)


def test_only_who_may_read_studies_can(served: Served) -> None:
    for role in (Role.ADMINISTRATOR, Role.AUDITOR):
        browser = served.pages.signed_in(role)
        for path in ("/dicomweb/studies", f"{served.path(served.other)}/file"):
            assert browser.get(path).status_code == 403
    assert served.pages.nobody().get("/dicomweb/studies").status_code == 401


def test_a_blinded_reader_gets_no_report_and_no_heat_map(served: Served) -> None:
    browser = served.pages.signed_in(Role.RADIOLOGIST, "blinded", blinded=True)
    study = f"/dicomweb/studies/{served.study}"
    objects = browser.get(f"{study}/instances").json()
    assert {one["00080060"]["Value"][0] for one in objects} == {"DX"}
    (found,) = browser.get("/dicomweb/studies?PatientID=P-7").json()
    assert found["00080061"]["Value"] == ["DX"]
    assert found["00201208"]["Value"] == [len(SYNTAXES)]
    assert len(browser.get(f"{study}/metadata").json()) == len(SYNTAXES)
    (report,) = served.client.search_for_instances(served.study, search_filters={"SOPClassUID": SR})
    path = path_of(report["00081190"]["Value"][0])
    for end in ("", "/file", "/metadata"):
        assert browser.get(path + end).status_code == 404


def test_a_damaged_object_is_told_and_never_half_sent(
    served: Served, demo_images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    image = make_object(demo_images[4], Form(Kind.DX, 12), Patient("Hurt^One", "P-10"))
    receive(served.pages.storage, [image])
    path = served.path(image)
    assert served.get(f"{path}/file").status_code == 200  # and is known to be sound
    (stored,) = Worklist(served.pages.storage.database).images(str(image.StudyInstanceUID))
    file = served.pages.storage.objects.path(stored.instance.arrival.sha256)
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    capsys.readouterr()
    for end in ("", "/file", "/frames/1"):
        answer = served.get(path + end)
        assert answer.status_code == 500
        assert "damaged" in answer.json()["detail"]
    assert served.get(f"/dicomweb/studies/{image.StudyInstanceUID}").status_code == 500
    assert served.get(f"{path}/metadata").status_code == 200  # is in the database
    logged = "".join(capsys.readouterr())
    assert "object.damaged" in logged
    assert "Hurt" not in logged
    uid = str(image.SOPInstanceUID)
    administrator = served.pages.signed_in(Role.ADMINISTRATOR)
    assert f"damaged or lost on this disk: {uid}" in administrator.get("/system").text
    noted = Audit(served.pages.storage.database).search(AuditQuery(action=Action.OBJECT_UNSOUND), 9)
    assert [(one.subject, one.actor) for one in noted] == [(uid, "radiologist")], "once"
    content[-100] ^= 1
    file.write_bytes(content)  # as from a backup
    assert "damaged or lost" not in administrator.get("/system").text
    file.unlink()
    answer = served.get(f"{path}/file")
    assert (answer.status_code, "lost" in answer.json()["detail"]) == (500, True)


def test_the_worklist_has_what_the_worker_read(served: Served) -> None:
    worklist = Worklist(served.pages.storage.database)
    (row,) = worklist.page(Query(text="änne")).rows
    assert (row.header.patient_name, row.header.station) == (NAME, "CR-1")
    assert row.images == len(SYNTAXES)
    (child,) = worklist.page(Query(text="doe")).rows
    assert child.not_analysed == 1


def path_of(url: str) -> str:
    """Return the path of an address: the client's Host header has no port, so ours has none."""
    return url[url.index("/dicomweb") :]


def split(answer: httpx.Response) -> list[tuple[str, bytes]]:
    """Take a multipart answer apart, by its boundary alone (RFC 2046 5.1.1)."""
    assert answer.status_code == 200, answer.text
    boundary = answer.headers["content-type"].partition("boundary=")[2].strip('"').encode()
    pieces = answer.content.split(b"\r\n--" + boundary)
    assert pieces[0] == b""
    assert pieces[-1].strip() == b"--"
    parts: list[Any] = [piece.partition(b"\r\n\r\n") for piece in pieces[1:-1]]
    return [(head.decode("ascii"), content) for head, _, content in parts]
