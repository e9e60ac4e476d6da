"""Content items of an SR document, encoded (PS3.3 section C.17.3 and C.18)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from daemon.report.codes import Code
from daemon.report.elements import element, in_order, sequence, sequence_value

CONTENT_SEQUENCE = 0x0040A730

_NAME = 0x0040A043
_RELATIONSHIP, _VALUE_TYPE = 0x0040A010, 0x0040A040
_SOP_CLASS, _SOP_INSTANCE = 0x00081150, 0x00081155
_REFERENCED = 0x00081199


class Relation(StrEnum):
    """Relationship Type (0040,A010)."""

    CONTAINS = "CONTAINS"
    ACQUISITION = "HAS ACQ CONTEXT"
    OBSERVATION = "HAS OBS CONTEXT"
    MODIFIER = "HAS CONCEPT MOD"
    SELECTED_FROM = "SELECTED FROM"


@dataclass(frozen=True, slots=True)
class Reference:
    """A SOP instance, with the presentation state that it is to be seen in where there is one."""

    sop_class_uid: str
    sop_instance_uid: str
    state: Reference | None = None


def container(
    name: Code,
    children: Sequence[bytes],
    template: str = "",
    relation: Relation = Relation.CONTAINS,
) -> bytes:
    """CONTAINER; each child a section of its own for whoever renders it."""
    extra = {
        0x0040A050: element(0x0040A050, "CS", b"SEPARATE"),
        CONTENT_SEQUENCE: sequence(CONTENT_SEQUENCE, children),
    }
    if template:
        extra[0x0040A504] = sequence(0x0040A504, [template_item(template)])
    return _item("CONTAINER", name, relation, extra)


def code(name: Code, value: Code, relation: Relation = Relation.CONTAINS) -> bytes:
    """CODE."""
    return _item("CODE", name, relation, {0x0040A168: _codes(0x0040A168, value)})


def text(name: Code, value: str, relation: Relation = Relation.CONTAINS) -> bytes:
    """TEXT, of characters that every character set has."""
    return _item(
        "TEXT", name, relation, {0x0040A160: element(0x0040A160, "UT", value.encode("ascii"))}
    )


def uid(name: Code, value: str, relation: Relation = Relation.CONTAINS) -> bytes:
    """UIDREF."""
    return _item(
        "UIDREF", name, relation, {0x0040A124: element(0x0040A124, "UI", value.encode("ascii"))}
    )


def number(name: Code, value: float, unit: Code, relation: Relation = Relation.CONTAINS) -> bytes:
    """NUM; `value` has at most 16 characters as a decimal string."""
    measured = in_order(
        {
            0x004008EA: _codes(0x004008EA, unit),
            0x0040A30A: element(0x0040A30A, "DS", decimal(value).encode("ascii")),
        }
    )
    return _item("NUM", name, relation, {0x0040A300: sequence(0x0040A300, [measured])})


def image(name: Code, target: Reference, relation: Relation = Relation.CONTAINS,
          children: Sequence[bytes] = ()) -> bytes:  # fmt: skip
    """IMAGE (PS3.3 section C.18.4)."""
    extra = {_REFERENCED: sequence(_REFERENCED, [_reference(target)])}
    if children:
        extra[CONTENT_SEQUENCE] = sequence(CONTENT_SEQUENCE, children)
    return _item("IMAGE", name, relation, extra)


def polyline(name: Code, points: Sequence[tuple[float, float]], source: bytes) -> bytes:
    """SCOORD (PS3.3 section C.18.6): (column, row) from the upper left corner of the image."""
    data = struct.pack(f"<{2 * len(points)}f", *(value for point in points for value in point))
    return _item(
        "SCOORD",
        name,
        Relation.CONTAINS,
        {
            0x00700022: element(0x00700022, "FL", data),
            0x00700023: element(0x00700023, "CS", b"POLYLINE"),
            CONTENT_SEQUENCE: sequence(CONTENT_SEQUENCE, [source]),
        },
    )


def template_item(identifier: str) -> bytes:
    """Encode an item of Content Template Sequence (0040,A504)."""
    return element(0x00080105, "CS", b"DCMR") + element(0x0040DB00, "CS", identifier.encode())


def content(children: Sequence[bytes]) -> bytes:
    """Return the value of Content Sequence (0040,A730)."""
    return sequence_value(children)


def decimal(value: float) -> str:
    """Return a number as a decimal string (VR DS): at most 16 characters."""
    for digits in range(15, 5, -1):
        shown = format(value, f".{digits}g")
        if len(shown) <= 16:
            break
    return shown


def _item(value_type: str, name: Code, relation: Relation, extra: dict[int, bytes]) -> bytes:
    return in_order(
        {
            _RELATIONSHIP: element(_RELATIONSHIP, "CS", relation.encode()),
            _VALUE_TYPE: element(_VALUE_TYPE, "CS", value_type.encode()),
            _NAME: _codes(_NAME, name),
        }
        | extra
    )


@lru_cache(maxsize=512)
def _codes(tag: int, value: Code) -> bytes:
    """Encode a code sequence of one item (PS3.3 section 8.8)."""
    written = value.value.encode("ascii")
    parts = {
        0x00080102: element(0x00080102, "SH", value.scheme_designator.encode("ascii")),
        0x00080104: element(0x00080104, "LO", value.meaning.encode("ascii")),
    }
    if len(written) <= 16:
        parts[0x00080100] = element(0x00080100, "SH", written)
    else:  # Long Code Value
        parts[0x00080119] = element(0x00080119, "UC", written)
    return sequence(tag, [in_order(parts)])


def _reference(target: Reference) -> bytes:
    parts = element(_SOP_CLASS, "UI", target.sop_class_uid.encode()) + element(
        _SOP_INSTANCE, "UI", target.sop_instance_uid.encode()
    )
    if target.state is not None:
        parts += sequence(_REFERENCED, [_reference(target.state)])
    return parts
