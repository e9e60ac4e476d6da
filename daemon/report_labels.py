"""A file of what radiologists' reports say, read and checked line by line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from daemon.errors import DaemonError
from storage.database import Database
from storage.labelled import ReportLabel
from storage.ledger import Ledger

COLUMNS = ("accession_number", "finding", "present")
PRESENT = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
SHOWN = 10
LARGEST_BYTES = 64 << 20


class WrongLabels(DaemonError):
    """The file of labels cannot be used."""


def read_labels(file: Path, database: Database) -> list[ReportLabel]:
    """Read a CSV of accession_number, finding, present. Raises WrongLabels, naming each line."""
    known = _findings(database)
    rows = _rows(file)
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


def _rows(file: Path) -> list[dict[str, str | None]]:
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise WrongLabels(f"{file} is larger than {LARGEST_BYTES >> 20} MiB: split it.")
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            columns = reader.fieldnames or []
            rows = list(reader)
    except OSError as error:
        raise WrongLabels(f"{file} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise WrongLabels(f"{file} is no CSV in UTF-8.") from error
    if not set(COLUMNS) <= set(columns):
        told = ", ".join(str(name)[:64] for name in columns[:SHOWN]) or "none"
        raise WrongLabels(f"{file} needs the columns {', '.join(COLUMNS)}. Received: {told}.")
    return rows


def _findings(database: Database) -> list[str]:
    """The findings of the bundle that serves."""
    serving = Ledger(database).serving()
    if serving is None:
        raise WrongLabels("No bundle serves yet, so that no finding is known: start the service.")
    card = json.loads(serving.model.card)
    return [output["label"]["name"] for output in card["findings"]]
