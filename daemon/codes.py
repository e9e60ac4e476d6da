"""What codes of reports mean: by default those of our own reports, else as an administrator says.

Nothing is ever read out of free text: a text is looked up whole, or it means nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.errors import DaemonError
from daemon.findings import CATALOGUE

SYSTEMS = {
    "http://snomed.info/sct": "SCT", "SNM": "SCT", "SNOMED-CT": "SCT", "SRT": "SCT",
    "http://dicom.nema.org/resources/ontology/dcm": "DCM",
    "http://loinc.org": "LN", "LOINC": "LN",
    "http://www.radlex.org": "RADLEX", "http://radlex.org": "RADLEX", "RID": "RADLEX",
    "http://terminology.hl7.org/codesystem/v2-0136": "HL70136",
    "http://terminology.hl7.org/codesystem/v2-0078": "HL70078",
}  # fmt: skip
"""Other names of coding schemes, without regard to case, and ours."""

ALL = "*"
NORMAL = ("281900007", "SCT")  # No abnormality detected: of the report as a whole
QUESTIONS = {("121071", "DCM"), ("404684003", "SCT"), ("59776-5", "LN"), ("18782-3", "LN")}
"""Observations that name a finding by their value."""

VALUES = {
    ("52101004", "SCT"): True, ("272519000", "SCT"): False,
    ("10828004", "SCT"): True, ("260385009", "SCT"): False, ("2667000", "SCT"): False,
    ("RID28472", "RADLEX"): True, ("RID28473", "RADLEX"): False,
    ("LA9633-4", "LN"): True, ("LA9634-2", "LN"): False,
    ("Y", "HL70136"): True, ("N", "HL70136"): False,
    ("POS", "HL70078"): True, ("NEG", "HL70078"): False,
}  # fmt: skip
TEXTS = {"present": True, "yes": True, "y": True, "true": True, "1": True, "absent": False,
         "no": False, "n": False, "false": False, "0": False}  # fmt: skip
RADLEX = {
    "RID5350": "pneumonia", "RID28493": "atelectasis", "RID34539": "pleural_effusion",
    "RID5352": "pneumothorax",
}  # fmt: skip

Code = tuple[str, str]
"""Value and scheme."""


class WrongCodes(DaemonError):
    """The file of codes cannot be used."""


@dataclass(frozen=True, slots=True)
class Codes:
    """What codes and whole texts mean; a finding may be `ALL`."""

    findings: Mapping[Code, str] = field(default_factory=dict)
    no_findings: Mapping[Code, str] = field(default_factory=dict)
    values: Mapping[Code, bool] = field(default_factory=dict)
    texts: Mapping[str, bool] = field(default_factory=dict)
    ignored: frozenset[Code] = frozenset()


def standard() -> Codes:
    """Return the codes of our own reports, with RadLex's and those for yes and no."""
    findings: dict[Code, str] = {
        (one.code_value, one.code_scheme): one.name for one in CATALOGUE.values()
    }
    findings |= {(value, "RADLEX"): name for value, name in RADLEX.items()}
    return Codes(findings, {NORMAL: ALL}, VALUES, TEXTS)


def read_codes(file: Path | None, known: Iterable[str]) -> Codes:
    """Return the standard codes and those of a TOML file, which go before them.

    Raises WrongCodes, naming each entry that is wrong and what is allowed.
    """
    base = standard()
    if file is None:
        return base
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongCodes(f"{file} cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongCodes(f"{file} is no TOML: {error}.") from error
    faults = [f"[{name}] is none of {', '.join(_TABLES)}" for name in told if name not in _TABLES]
    names = {*known, *CATALOGUE}
    findings = _table(told, "findings", names, faults)
    no_findings = _table(told, "no_findings", {*names, ALL}, faults)
    ignored = {_code(key) for key in _table(told, "ignored", {True}, faults)}
    values: dict[Code, bool] = {}
    texts: dict[str, bool] = {}
    for key, value in _table(told, "values", {True, False}, faults).items():
        if "|" in key:
            values[_code(key)] = value
        else:
            texts[key.casefold()] = value
    faults += [
        f"[{name}] {key!r} is no SCHEME|CODE"
        for name in ("findings", "no_findings", "ignored")
        for key in told.get(name, {})
        if "|" not in key
    ]
    if faults:
        raise WrongCodes(f"{file}: {'; '.join(faults[:10])}.")
    return Codes(
        {**base.findings, **_coded(findings)},
        {**base.no_findings, **_coded(no_findings)},
        {**base.values, **values},
        {**base.texts, **texts},
        frozenset(ignored),
    )


def scheme(name: str) -> str:
    """Return a coding scheme as this service calls it."""
    name = name.strip()
    folded = {other.casefold(): ours for other, ours in SYSTEMS.items()}
    return folded.get(name.rstrip("/").casefold(), name)


_TABLES = ("findings", "no_findings", "values", "ignored")


def _code(key: str) -> Code:
    of, _, value = key.partition("|")
    return value.strip(), scheme(of)


def _coded(table: Mapping[str, str]) -> dict[Code, str]:
    return {_code(key): name for key, name in table.items()}


def _table(
    told: Mapping[str, Any], name: str, allowed: set[Any], faults: list[str]
) -> dict[str, Any]:
    table = told.get(name, {})
    if not isinstance(table, dict):
        faults.append(f"[{name}] is a table")
        return {}
    for key, value in table.items():
        if type(value) not in {type(one) for one in allowed} or value not in allowed:
            listed = ", ".join(sorted(str(one).lower() for one in allowed))
            faults.append(f"[{name}] {key!r} is one of {listed}")
    return dict(table)
