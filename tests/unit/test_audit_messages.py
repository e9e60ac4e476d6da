"""DICOM audit messages: valid by the schema of PS3.15 A.5.1, and coded as A.5.3 lays down."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from daemon.audit.codes import KINDS
from daemon.audit.messages import Messages, Patient
from daemon.audit.syslog import BOM, frame
from daemon.settings import PacsSettings, Settings
from storage.audit import Audit, AuditRow
from storage.people import Action
from tests.storing import arrival, make_report, open_storage

SCHEMA = Path(__file__).parents[1] / "audit_message.rng"
STUDY = "1.2.826.9.1"


def messages(patient: Patient | None = None) -> Messages:
    settings = Settings(
        audit={"site": "Ward 7"},
        pacs=(PacsSettings(name="main", ae_title="ARCHIVE", host="10.0.0.9", port=104),),
    )
    return Messages(settings, "gate", lambda _study: patient)


def row(action: Action | str, subject: str = "", **detail: str | int) -> AuditRow:
    at, who = 1_700_000_000.25, "CR1@10.0.0.5"
    return AuditRow(7, at, who, str(action), subject, dict(detail), "a" * 64)


def invalid(folder: Path, *found: bytes) -> str:
    """Return what xmllint has against messages; empty where all are valid."""
    files = []
    for number, one in enumerate(found):
        files.append(folder / f"{number}.xml")
        files[-1].write_bytes(one)
    ran = subprocess.run(
        ["xmllint", "--noout", "--relaxng", SCHEMA, *files],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    faults = [line for line in ran.stderr.splitlines() if not line.endswith(" validates")]
    return "\n".join(faults) or ("" if ran.returncode == 0 else f"exit {ran.returncode}")


@pytest.mark.peer
def test_every_action_of_the_trail_makes_a_valid_message(tmp_path: Path) -> None:
    made = messages(Patient("P<1>", "clinic"))
    detail = {"study": STUDY, "sop_class": "1.2.840.1", "pacs": "main", "address": "10.0.0.5"}
    found = [made.xml(row(action, "1.2.3", **detail)) for action in Action]
    of_instances = ("study.", "review.", "instance.", "report.")
    found += [made.xml(row(action)) for action in Action if not action.startswith(of_instances)]
    found.append(made.xml(row("a.later.release", "x\x00\x1b<&>\ud800", outcome="new")))
    assert invalid(tmp_path, *found) == ""


@pytest.mark.peer
@pytest.mark.parametrize(
    "fault", ['EventOutcomeIndicator="0"', "<EventID", 'UserIsRequestor="true"', 'UID="1.2.3"']
)
def test_the_schema_refuses_what_is_no_message(tmp_path: Path, fault: str) -> None:
    good = messages().xml(row(Action.INSTANCE_RECEIVED, "1.2.3")).decode()
    assert fault in good
    assert invalid(tmp_path, good.replace(fault, fault.replace("E", "X").replace('"', '"x', 1),
                                          1).encode())  # fmt: skip


def test_an_image_that_came_is_a_transfer_from_its_sender_to_us() -> None:
    xml = ET.fromstring(
        messages().xml(row(Action.INSTANCE_RECEIVED, "1.2.3", outcome="repeated", sop_class="1.9"))
    )
    event = xml.find("EventIdentification/EventID")
    assert event is not None
    assert (event.get("csd-code"), event.get("codeSystemName")) == ("110104", "DCM")
    assert xml.find("EventIdentification").attrib == {  # type: ignore[union-attr]
        "EventActionCode": "R",  # the receiver had it
        "EventDateTime": "2023-11-14T22:13:20.250000+00:00",
        "EventOutcomeIndicator": "0",
    }
    roles = {
        one.find("RoleIDCode").get("csd-code"): one.attrib  # type: ignore[union-attr]
        for one in xml.findall("ActiveParticipant")
    }
    assert roles["110153"] == {
        "UserID": "CR1", "UserIsRequestor": "true",
        "NetworkAccessPointID": "10.0.0.5", "NetworkAccessPointTypeCode": "2",
    }  # fmt: skip
    assert roles["110152"]["UserID"] == "HILUM"
    instance = xml.find("ParticipantObjectIdentification//Instance")
    assert instance is not None
    assert instance.get("UID") == "1.2.3"


def test_a_delivery_names_the_pacs_and_the_study() -> None:
    made = messages().xml(row(Action.REPORT_DELIVERED, "7.1", pacs="main", study=STUDY))
    xml = ET.fromstring(made)
    users = [one.get("UserID") for one in xml.findall("ActiveParticipant")]
    assert users == ["HILUM", "ARCHIVE"]
    study = xml.find("ParticipantObjectIdentification")
    assert study is not None
    assert study.get("ParticipantObjectID") == STUDY
    assert (study.get("ParticipantObjectTypeCode"), study.get("ParticipantObjectTypeCodeRole")) == (
        "2", "3",
    )  # fmt: skip


def test_a_message_carries_its_rows_number_and_hash() -> None:
    xml = ET.fromstring(messages().xml(row(Action.MODEL_PROMOTED, "hilum 2", reason="better")))
    kept = {
        one.get("type"): base64.b64decode(str(one.get("value"))).decode()
        for one in xml.iter("ParticipantObjectDetail")
    }
    assert kept == {"row": "7", "sha256": "a" * 64, "detail.reason": "better"}


@pytest.mark.parametrize("told", [True, False])
def test_a_patients_id_goes_along_only_where_the_settings_say_so(told: bool) -> None:
    patient = Patient("P-1", "clinic") if told else None
    made = messages(patient).xml(row(Action.STUDY_READ, STUDY)).decode()
    assert ("P-1^^^clinic" in made) is told


def test_every_action_that_the_pipeline_writes_has_a_message_of_its_own(tmp_path: Path) -> None:
    storage = open_storage(tmp_path)
    make_report(storage, "7.1", STUDY, 1.0, "main")
    (claim,) = storage.outbox.claim("main", 1, "d", 60, 2.0)
    storage.outbox.stored(claim, "0000", 3.0)
    storage.queue.accept(arrival("1.7.1", "other", received_at=4.0))
    rows = Audit(storage.database).after(0, 99)
    assert [one.action for one in rows] == [
        Action.INSTANCE_RECEIVED, Action.INSTANCE_ANALYSED, Action.REPORT_MADE,
        Action.REPORT_DELIVERED, Action.INSTANCE_RECEIVED,
    ]  # fmt: skip
    assert {one.action for one in rows} <= {str(action) for action in KINDS}
    assert rows[3].detail["study"] == STUDY
    assert rows[4].detail["outcome"] == "conflict"
    assert rows[1].detail["probability.pneumonia"] == 0.75


def test_a_frame_counts_octets_and_marks_utf8() -> None:
    made = frame("<a>é</a>".encode(), 1_700_000_000.25, "gate", 42)
    length, _, message = made.partition(b" ")
    assert int(length) == len(message)
    head, _, xml = message.partition(BOM)
    assert head == b"<85>1 2023-11-14T22:13:20.250000Z gate hilum 42 DICOM+RFC3881 - "
    assert xml.decode() == "<a>é</a>"
