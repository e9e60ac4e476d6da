"""Labels from FHIR and HL7 v2: what is said is taken, and nothing that is not said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import fhir_labels, hl7_labels
from daemon.codes import WrongCodes, read_codes, standard
from daemon.statements import Statements, WrongLabels

FINDINGS = ("pneumonia", "infiltration", "atelectasis", "pleural_effusion", "nodule_or_mass")
SCT = "http://snomed.info/sct"
HEAD = "MSH|^~\\&|RIS|H|HILUM|H|20260301101500||ORU^R01^ORU_R01|1|P|2.5.1"


def gathered(codes: Path | None = None) -> Statements:
    return Statements(read_codes(codes, FINDINGS) if codes else standard(), FINDINGS)


def said(found: Statements, *, skip_unknown: bool = False) -> dict[tuple[str, str], bool]:
    lines = found.checked("file", skip_unknown=skip_unknown)
    return {(one.accession_number, one.finding): one.present for one in lines}


def hl7(*segments: str, field: str = "OBR-18", codes: Path | None = None) -> Statements:
    found = gathered(codes)
    hl7_labels.read("\r".join([HEAD, *segments]), field, found)
    return found


def obr(accession: str = "A1", status: str = "F") -> str:
    fields = [""] * 26
    fields[0], fields[1], fields[3], fields[4] = "OBR", "1", "F-9^RIS", "CHEST^Chest^L"
    fields[18], fields[25] = accession, status
    return "|".join(fields)


def obx(kind: str, code: str, value: str, status: str = "F") -> str:
    return f"OBX|1|{kind}|{code}||{value}||||||{status}"


PNEUMONIA = "233604007^Pneumonia^SCT"
EFFUSION = "60046008^Effusion^SNM"


def test_observations_of_hl7_are_coded_or_whole_texts() -> None:
    found = hl7(
        "PID|1||P1", "ORC|RE|O-7", obr(),
        obx("CWE", PNEUMONIA, "52101004^Present^SCT"), obx("ST", EFFUSION, "absent"),
        obx("CE", "121071^Finding^DCM", "46621007^Atelectasis^SCT"),
        obx("CWE", "112121^Infiltrate^DCM", "X1^nein^99L^272519000^Absent^SCT"),
    )  # fmt: skip
    assert said(found) == {
        ("A1", "pneumonia"): True, ("A1", "pleural_effusion"): False,
        ("A1", "atelectasis"): True, ("A1", "infiltration"): False,
    }  # fmt: skip


def test_many_messages_framed_as_mllp_sends_them_and_in_a_batch() -> None:
    one = "\r".join([HEAD, obr("A1"), obx("ST", PNEUMONIA, "Yes")])
    two = "\r\n".join([HEAD, obr("A2"), obx("ST", PNEUMONIA, "N")])
    framed = gathered()
    text = f"\x0b{one}\r\x1c\r\x0b{two}\r\x1c\r"
    assert hl7_labels.looks_like_it(text)
    hl7_labels.read(text, "OBR-18", framed)
    assert said(framed) == {("A1", "pneumonia"): True, ("A2", "pneumonia"): False}
    batch = gathered()
    text = f"FHS|^~\\&\rBHS|^~\\&\r{one}\r{two}\rBTS|2\rFTS|1\r"
    assert hl7_labels.looks_like_it(text)
    hl7_labels.read(text, "OBR-18", batch)
    assert batch.labels == framed.labels
    assert batch.reports == 2


@pytest.mark.parametrize(
    ("field", "accession"), [("OBR-18", "A1"), ("OBR-3", "F-9"), ("ORC-2", "O-7")]
)
def test_the_accession_number_stands_where_the_setting_says(field: str, accession: str) -> None:
    found = hl7("ORC|RE|O-7^HIS", obr(), obx("ST", PNEUMONIA, "yes"), field=field)
    assert said(found) == {(accession, "pneumonia"): True}


@pytest.mark.parametrize(
    ("segments", "told"),
    [
        (
            (obr(status="P"), obx("ST", PNEUMONIA, "yes")),
            "A1 in message 1 is unfinished",
        ),
        ((obr(status="X"), obx("ST", PNEUMONIA, "yes")), "not to be used"),
        ((obr(), obx("ST", PNEUMONIA, "yes", "P")), "unfinished observation (OBX-11 P)"),
        ((obr(""), obx("ST", PNEUMONIA, "yes")), "no accession number in OBR-18"),
        ((obr(), obx("ST", PNEUMONIA, "rather not")), "a text"),
        ((obr(), obx("TX", "IMP^Impression^L", "No pneumonia.")), "L|IMP (1 times)"),
        ((obr(), obx("CWE", PNEUMONIA, "MAYBE^^L")), "L|MAYBE"),
        ((obr(), obx("ST", PNEUMONIA, "yes"), obx("ST", PNEUMONIA, "no")), "conflict on pneumonia"),
        (("PID|1",), "no OBR"),
        ((obr(),), "has no label"),
    ],
)
def test_what_cannot_be_used_of_hl7_is_named_and_nothing_is_taken(
    segments: tuple[str, ...], told: str
) -> None:
    with pytest.raises(WrongLabels) as error:
        said(hl7(*segments))
    assert told in str(error.value)
    assert "rather not" not in str(error.value)


def test_another_kind_of_message_is_named() -> None:
    found = gathered()
    hl7_labels.read("MSH|^~\\&|A|B|C|D|1||ADT^A08|1|P|2.3\rPID|1", "OBR-18", found)
    with pytest.raises(WrongLabels, match=r"message 1 is ADT\^A08 and no ORU\^R01"):
        said(found)


def test_codes_without_a_meaning_are_let_be_where_that_is_wanted() -> None:
    found = hl7(obr(), obx("TX", "IMP^Impression^L", "Text."), obx("ST", PNEUMONIA, "yes"))
    assert said(found, skip_unknown=True) == {("A1", "pneumonia"): True}


CODES = """
[findings]
"L|PNEU" = "pneumonia"
[no_findings]
"L|NORMAL" = "*"
"L|NOEFF" = "pleural_effusion"
[values]
"ja" = true
"L|NEIN" = false
[ignored]
"L|IMP" = true
"""


def test_an_administrator_says_what_codes_mean(tmp_path: Path) -> None:
    file = tmp_path / "codes.toml"
    file.write_text(CODES)
    found = hl7(
        obr(), obx("TX", "IMP^Impression^L", "Free text"), obx("ST", "PNEU^^L", "Ja"),
        obx("CE", "121071^^DCM", "NOEFF^^L"), obr("A2"), obx("CE", "121071^^DCM", "NORMAL^^L"),
        obr("A3"), obx("CE", "PNEU^^L", "NEIN^^L"), codes=file,
    )  # fmt: skip
    normal = {("A2", name): False for name in FINDINGS}
    assert said(found) == {
        ("A1", "pneumonia"): True, ("A1", "pleural_effusion"): False,
        ("A3", "pneumonia"): False, **normal,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[findings]\n'L|X' = 'scurvy'", "is one of"),
        ("[findings]\n'X' = 'pneumonia'", "is no SCHEME|CODE"),
        ("[values]\n'ja' = 'yes'", "is one of false, true"),
        ("[findngs]\n", "none of findings, no_findings, values, ignored"),
        ("[", "is no TOML"),
    ],
)
def test_a_wrong_file_of_codes_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "codes.toml"
    file.write_text(text)
    with pytest.raises(WrongCodes) as error:
        read_codes(file, FINDINGS)
    assert told in str(error.value)


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def acsn(value: str) -> dict[str, Any]:
    return {"type": {"coding": [{"code": "ACSN"}]}, "system": "urn:ris", "value": value}


def report(**values: Any) -> dict[str, Any]:
    return {"resourceType": "DiagnosticReport", "id": "r", "status": "final",
            "identifier": [acsn("A1")], **values}  # fmt: skip


def coded(code: str, system: str = SCT) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def observation(name: str, code: str, **values: Any) -> dict[str, Any]:
    return {"resourceType": "Observation", "id": name, "status": "final", "code": coded(code),
            **values}  # fmt: skip


def fhir(whole: Any, system: str | None = None) -> Statements:
    found = gathered()
    fhir_labels.read(json.dumps(whole), system, found)
    return found


def test_conclusions_and_observations_of_fhir() -> None:
    whole = bundle(
        report(
            conclusionCode=[coded("233604007")],
            result=[{"reference": f"Observation/{name}"} for name in "abcd"],
        ),
        observation("a", "60046008", valueCodeableConcept=coded("272519000")),
        observation("b", "46621007", valueBoolean=True),
        observation("c", "309529002", valueString="absent"),
        observation("d", "112121", status="entered-in-error", valueBoolean=True),
    )
    assert said(fhir(whole)) == {
        ("A1", "pneumonia"): True, ("A1", "pleural_effusion"): False,
        ("A1", "atelectasis"): True, ("A1", "nodule_or_mass"): False,
    }  # fmt: skip


def test_no_abnormality_says_so_of_every_finding_of_the_bundle() -> None:
    found = fhir(report(conclusionCode=[coded("281900007")]))
    assert said(found) == {("A1", name): False for name in FINDINGS}


@pytest.mark.parametrize(
    ("changes", "system"),
    [
        ({"basedOn": [{"reference": "urn:uuid:s"}]}, None),
        ({"basedOn": [{"reference": "https://ris.example/fhir/ServiceRequest/s"}]}, None),
        ({"basedOn": [{"identifier": acsn("A9")}]}, None),
        ({"basedOn": [{"reference": "#s"}], "contained": [
            {"resourceType": "ServiceRequest", "id": "s", "identifier": [acsn("A9")]}]}, None),
        ({"identifier": [{"system": "urn:own", "value": "A9"}, acsn("A1")]}, "urn:own"),
    ],
)  # fmt: skip
def test_the_accession_number_of_fhir(changes: dict[str, Any], system: str | None) -> None:
    request = {"resourceType": "ServiceRequest", "id": "s", "identifier": [acsn("A9")]}
    whole = bundle(
        report(**{"identifier": [], "conclusionCode": [coded("233604007")], **changes}), request
    )
    assert said(fhir(whole, system)) == {("A9", "pneumonia"): True}


@pytest.mark.parametrize(
    ("whole", "told"),
    [
        (report(status="preliminary"), "unfinished (status preliminary)"),
        (report(status="entered-in-error"), "not to be used"),
        (report(identifier=[]), "no accession number"),
        (report(identifier=[acsn("A1"), acsn("A2")]), "more than one accession number"),
        (report(conclusionCode=[coded("1")]), "SCT|1 (1 times)"),
        (report(result=[{"reference": "Observation/z"}]), "is not in the file"),
        (bundle(report(result=[{"reference": "Observation/o"}]),
                observation("o", "233604007", status="preliminary")), "unfinished"),
        (bundle({**report(conclusionCode=[coded("233604007")])},
                {**report(result=[{"reference": "Observation/o"}]), "id": "r2"},
                observation("o", "233604007", valueBoolean=False)), "A1 conflict on pneumonia"),
        (bundle(observation("o", "233604007")), "no DiagnosticReport"),
        ({"a": 1}, "no FHIR resource"),
        ([], "no FHIR resource"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_of_fhir_is_named_and_nothing_is_taken(whole: Any, told: str) -> None:
    with pytest.raises(WrongLabels) as error:
        said(fhir(whole))
    assert told in str(error.value)


def test_an_observation_that_names_itself_ends() -> None:
    whole = bundle(
        report(result=[{"reference": "Observation/o"}]),
        observation("o", "59776-5", hasMember=[{"reference": "Observation/o"}]),
    )
    with pytest.raises(WrongLabels):
        said(fhir(whole))


JSON = st.recursive(
    st.none() | st.booleans() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["resourceType", "entry", "resource", "identifier", "coding", "status", "result",
         "reference", "conclusionCode", "type", "code"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
def test_no_json_makes_a_fault_of_ours(value: Any) -> None:
    for whole in (value, {"resourceType": "DiagnosticReport", "result": value,
                          "identifier": value, "conclusionCode": value}):  # fmt: skip
        try:
            fhir(whole).checked("file", skip_unknown=False)
        except WrongLabels:
            continue


@given(st.text(alphabet="|^~\\&\r\nAOBRXF18.-", max_size=120), st.sampled_from(hl7_labels.FIELDS))
def test_no_message_makes_a_fault_of_ours(text: str, field: str) -> None:
    found = gathered()
    hl7_labels.read(f"{HEAD}\r{text}", field, found)
    try:
        found.checked("file", skip_unknown=False)
    except WrongLabels:
        return
    assert found.labels
