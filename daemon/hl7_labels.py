"""HL7 v2 result messages (ORU^R01, chapters 2 and 7 of the standard) in the ER7 encoding.

One file holds one message or many, bare, in a batch (FHS, BHS) or framed as MLLP sends them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daemon.codes import Code, scheme
from daemon.statements import Statements

FIELDS = ("OBR-18", "OBR-2", "OBR-3", "OBR-19", "ORC-2", "ORC-3")
"""Where the accession number may stand; the first is what IHE's radiology messages use."""

FINAL, UNFINISHED, TAKEN_BACK = {"F", "C"}, {"P", "R", "I", "S", "A", "O"}, {"X", "D", "W", "N"}
"""Statuses of tables 0123 (OBR-25) and 0085 (OBX-11)."""
CODED, WRITTEN = {"CE", "CWE", "CNE", "CF"}, {"ST", "TX", "IS", "ID", "FT"}
_FRAMES = re.compile("[\x0b\x1c\x00]")
_ESCAPE = re.compile(r"\\([FSTRE]|X[0-9A-Fa-f]+|\.[a-z]+\d*)\\")


@dataclass(frozen=True, slots=True)
class Message:
    """A message's segments, each a list of its fields, and its separators."""

    segments: tuple[tuple[str, ...], ...]
    component: str
    repetition: str
    subcomponent: str

    def parts(self, text: str) -> list[str]:
        """The components of a field's first repetition."""
        first = text.split(self.repetition, 1)[0]
        return [self.plain(part) for part in first.split(self.component)]

    def plain(self, text: str) -> str:
        """Text without escapes (section 2.7)."""
        signs = {"F": "|", "S": self.component, "T": self.subcomponent, "R": self.repetition,
                 "E": "\\"}  # fmt: skip
        return _ESCAPE.sub(lambda found: signs.get(found[1], " "), text).strip()


def looks_like_it(text: str) -> bool:
    """Whether a file's text begins as one of messages."""
    return _FRAMES.sub("", text[:64]).lstrip()[:3] in ("MSH", "FHS", "BHS")


def read(text: str, field: str, found: Statements) -> None:
    """Take every message's reports; what cannot be used is noted there."""
    for number, message in enumerate(messages(text), start=1):
        kind = message.parts(_field(message.segments[0], 8))
        if kind[:2] != ["ORU", "R01"]:
            told = "^".join(kind[:2]) or "no type"
            found.faults.append(f"message {number} is {told[:16]} and no ORU^R01")
            continue
        _take(message, number, field, found)


def messages(text: str) -> Iterator[Message]:
    """Read the messages of a file; a segment may end with CR, LF or both."""
    lines = [line for line in re.split(r"[\r\n]+", _FRAMES.sub("\r", text)) if line.strip()]
    gathered: list[str] = []
    for line in lines:
        name = line[:3]
        if name == "MSH" and gathered:
            yield _message(gathered)
            gathered = []
        if name == "MSH" or (gathered and name not in ("FTS", "BTS", "FHS", "BHS")):
            gathered.append(line)
    if gathered:
        yield _message(gathered)


def _message(lines: Sequence[str]) -> Message:
    """Separators are what MSH-1 and MSH-2 say."""
    head = lines[0].ljust(8, "\0")
    separator, component, repetition, subcomponent = head[3], head[4], head[5], head[7]
    segments = tuple(tuple(line.split(separator)) for line in lines)
    return Message(segments, component, repetition, subcomponent)


def _take(message: Message, number: int, field: str, found: Statements) -> None:
    """A report is an OBR with the OBX after it; ORC goes before its OBR."""
    order: tuple[str, ...] = ()
    accession = ""  # of the report that may be used
    reports = 0
    for segment in message.segments:
        if segment[0] == "ORC":
            order = segment
        elif segment[0] == "OBR":
            reports += 1
            of = _accession(message, field, order, segment)
            accession = of if _usable(message, number, segment, field, of, found) else ""
        elif segment[0] == "OBX" and accession:
            _observe(message, number, segment, accession, found)
    found.reports += reports
    if not reports:
        found.faults.append(f"message {number} has no OBR")


def _usable(
    message: Message, number: int, segment: Sequence[str], field: str, accession: str,
    found: Statements,
) -> bool:  # fmt: skip
    status = message.plain(_field(segment, 25)).upper()
    of = f" of accession number {accession}" if accession else ""
    if status and status not in FINAL:
        why = "unfinished" if status in UNFINISHED else "not to be used"
        found.faults.append(f"the report{of} in message {number} is {why} (OBR-25 {status[:8]})")
    elif not accession:
        found.faults.append(f"message {number} has no accession number in {field}")
    else:
        return True
    return False


def _accession(
    message: Message, field: str, order: Sequence[str], request: Sequence[str]
) -> str:  # fmt: skip
    name, _, number = field.partition("-")
    segment = order if name == "ORC" else request
    return message.parts(_field(segment, int(number)))[0]


def _observe(
    message: Message, number: int, segment: Sequence[str], accession: str, found: Statements
) -> None:
    status = message.plain(_field(segment, 11)).upper()
    if status in TAKEN_BACK:
        return
    if status not in FINAL and status not in ("", "U"):
        told = f"message {number} has an unfinished observation (OBX-11 {status[:8]})"
        found.faults.append(f"{told} of accession number {accession}")
        return
    kind = message.plain(_field(segment, 2)).upper()
    for repetition in _field(segment, 5).split(message.repetition):
        value = _codes(message, repetition) if kind in CODED else []
        text = message.plain(repetition) if kind in WRITTEN else None
        found.observed(accession, _codes(message, _field(segment, 3)), value, text)


def _codes(message: Message, text: str) -> list[Code]:
    """The code and the alternate one of a coded element."""
    parts = [*message.parts(text), *[""] * 6]
    pairs = ((parts[0], parts[2]), (parts[3], parts[5]))
    return [(value, scheme(of)) for value, of in pairs if value]


def _field(segment: Sequence[str], number: int) -> str:
    """A field by its number; in MSH the separator is the first."""
    return segment[number] if number < len(segment) else ""
