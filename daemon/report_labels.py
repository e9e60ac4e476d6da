"""A file of what radiologists' reports say: CSV, FHIR R4 as JSON, or HL7 v2 result messages."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from daemon import fhir_labels, hl7_labels
from daemon.codes import read_codes
from daemon.statements import SHOWN, Statements, WrongLabels
from storage.database import Database
from storage.labelled import ReportLabel
from storage.ledger import Ledger

__all__ = ["WrongLabels", "read_labels"]

COLUMNS = ("accession_number", "finding", "present")
PRESENT = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
LARGEST_BYTES = 64 << 20


def read_labels(
    file: Path,
    database: Database,
    codes: Path | None = None,
    accession: str = "",
    *,
    skip_unknown: bool = False,
) -> list[ReportLabel]:
    """Read a file of reports by what it begins with.

    codes: a file of what codes mean. accession: where the accession number stands, a field of HL7
    (`hl7_labels.FIELDS`) or the system of an identifier in FHIR.

    Raises WrongLabels, naming what is wrong, and WrongCodes.
    """
    known = _findings(database)
    text = _text(file)
    fhir, hl7 = fhir_labels.looks_like_it(text), hl7_labels.looks_like_it(text)
    if not fhir and not hl7:
        return _read_csv(file, text, known)
    found = Statements(read_codes(codes, known), known)
    if hl7:
        field = accession or hl7_labels.FIELDS[0]
        if field not in hl7_labels.FIELDS:
            allowed = ", ".join(hl7_labels.FIELDS)
            raise WrongLabels(f"The accession number is in one of {allowed}. Received: {field}.")
        hl7_labels.read(text, field, found)
    else:
        try:
            fhir_labels.read(text, accession or None, found)
        except WrongLabels as error:
            raise WrongLabels(f"Nothing was imported. {file}: {error}") from error
    return found.checked(file, skip_unknown=skip_unknown)


def _read_csv(file: Path, text: str, known: list[str]) -> list[ReportLabel]:
    """Read a CSV of accession_number, finding, present. Raises WrongLabels, naming each line."""
    rows = _rows(file, text)
    faults: list[str] = []
    found: dict[tuple[str, str], ReportLabel] = {}
    for number, row in enumerate(rows, start=2):
        accession, finding, present = ((row[name] or "").strip() for name in COLUMNS)
        said = PRESENT.get(present.lower())
        key = (accession, finding)
        if not accession:
            faults.append(f"line {number}: no accession number")
        elif finding not in known:
            faults.append(f"line {number}: {finding[:64]!r} is none of {', '.join(known)}")
        elif said is None:
            faults.append(f"line {number}: present is 1 or 0, received {present[:16]!r}")
        elif key in found and found[key].present != said:
            faults.append(f"line {number}: the same finding was said otherwise before")
        else:
            found[key] = ReportLabel(accession, finding, said)
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise WrongLabels(f"Nothing was imported. {file}: {'; '.join(faults[:SHOWN])}{more}.")
    if not found:
        raise WrongLabels(f"{file} has no label.")
    return list(found.values())


def _text(file: Path) -> str:
    """The file as text; HL7 messages may be in Latin-1, and their codes are ASCII in any case."""
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise WrongLabels(f"{file} is larger than {LARGEST_BYTES >> 20} MiB: split it.")
        contents = file.read_bytes()
    except OSError as error:
        raise WrongLabels(f"{file} cannot be read: {error.strerror}.") from error
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = contents.decode("latin-1")
        if hl7_labels.looks_like_it(text):
            return text
        raise WrongLabels(
            f"{file} is no CSV in UTF-8, no FHIR as JSON, and no HL7 v2 message."
        ) from error


def _rows(file: Path, text: str) -> list[dict[str, str | None]]:
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        columns = reader.fieldnames or []
        rows = list(reader)
    except csv.Error as error:
        raise WrongLabels(f"{file} is no CSV, no FHIR as JSON, and no HL7 v2 message.") from error
    if not set(COLUMNS) <= set(columns):
        told = ", ".join(str(name)[:64] for name in columns[:SHOWN]) or "none"
        raise WrongLabels(
            f"{file} is neither FHIR as JSON nor HL7 v2, and a CSV needs the columns "
            f"{', '.join(COLUMNS)}. Received: {told}."
        )
    return rows


def _findings(database: Database) -> list[str]:
    """The findings of the bundle that serves."""
    serving = Ledger(database).serving()
    if serving is None:
        raise WrongLabels("No bundle serves yet, so that no finding is known: start the service.")
    card = json.loads(serving.model.card)
    return [output["label"]["name"] for output in card["findings"]]
