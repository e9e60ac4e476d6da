"""Our own checks of an object's bytes before they are stored to be sent.

The bytes are walked anew, by other code than wrote them. What is repeated from the image (patient,
study, request) is not judged: a PACS matches on it, so that it stays as the modality wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.tag import Tag

from daemon.contexts import BASIC_TEXT_SR, COMPREHENSIVE_SR, PRESENTATION_STATE, SECONDARY_CAPTURE
from daemon.report.conformance import BINARY, MANDATORY, TEXT, conforms
from daemon.report.errors import ReportInvalid
from daemon.report.header import REPEATED
from daemon.report.wire import Element, Malformed, file_meta, walk

MAX_BYTES = 64 << 20
_NAMES = {
    COMPREHENSIVE_SR: "The Comprehensive SR",
    BASIC_TEXT_SR: "The Basic Text SR",
    SECONDARY_CAPTURE: "The Secondary Capture",
    PRESENTATION_STATE: "The presentation state",
}
_EVIDENCE = frozenset({0x0040A375, 0x0040A385})  # current, pertinent other
_CONTENT, _ANNOTATIONS, _SERIES = 0x0040A730, 0x00700001, 0x00081115
_EQUIPMENT = 0x0018A001
_REPEATED_EQUIPMENT = frozenset({0x00080070, 0x00080080, 0x00081010, 0x00081090})
_CLASS, _INSTANCE = 0x00081150, 0x00081155
_ISO_2022 = "ISO 2022"


@dataclass(frozen=True, slots=True)
class Walked:
    """An object as its bytes say."""

    elements: tuple[Element, ...]

    def value(self, keyword: str) -> bytes | None:
        """Return the value of an element of the root, without padding; None where absent."""
        path = (int(Tag(keyword)),)
        for one in self.elements:
            if one.path == path:
                return one.value if one.vr in BINARY else one.value.rstrip(b"\0 ")
        return None

    def text(self, keyword: str) -> str:
        """Return the same as text, "" where absent."""
        return (self.value(keyword) or b"").decode("latin-1")


def check(content: bytes) -> None:
    """Raises ReportInvalid, which lists every fault found in a Part 10 file of ours."""
    what = "The object"
    try:
        if len(content) > MAX_BYTES:
            raise Malformed(f"it has {len(content)} bytes, at most {MAX_BYTES} are sent")
        meta, start = file_meta(content)
        found = Walked(tuple(walk(content[start:])))
    except Malformed as error:
        raise ReportInvalid(what, (str(error),)) from None
    what = _NAMES.get(found.text("SOPClassUID"), what)
    rules: tuple[Callable[[Walked], Iterator[str]], ...] = (
        _mandatory, _values, _characters, _references, _pixels, _state,
    )  # fmt: skip
    faults = [fault for rule in rules for fault in rule(found)]
    for keyword, tag in (("SOPClassUID", 0x00020002), ("SOPInstanceUID", 0x00020003)):
        if meta.get(tag) != found.value(keyword):
            faults.append(f"the file meta information names another {keyword}")
    if faults:
        raise ReportInvalid(what, tuple(dict.fromkeys(faults)))


def _mandatory(found: Walked) -> Iterator[str]:
    sop_class = found.text("SOPClassUID")
    if sop_class not in MANDATORY:
        yield f"SOP Class {sop_class!r} is none that we make"
        return
    filled, present = MANDATORY[sop_class]
    for keyword in sorted(filled):
        if not found.value(keyword):
            yield f"{keyword} has no value"
    for keyword in sorted(present):
        if found.value(keyword) is None:
            yield f"{keyword} is absent"


def _values(found: Walked) -> Iterator[str]:
    for one in found.elements:
        if _is_repeated(one):
            continue
        expected = _vr(one.tag)
        if one.vr not in expected.split(" or "):
            yield f"{_shown(one)} has VR {one.vr}, not {expected}"
        elif not conforms(one.vr, one.value):
            yield f"{_shown(one)} is no value of VR {one.vr}"


def _characters(found: Walked) -> Iterator[str]:
    """Text of our own is in the character set that the object declares."""
    declared = found.text("SpecificCharacterSet").split("\\")
    encodings = [python_encoding.get(term.strip(), "") for term in declared]
    for one in found.elements:
        if one.vr not in TEXT or one.value.isascii() or _is_repeated(one):
            continue
        if len(declared) > 1 or declared[0].startswith(_ISO_2022):
            continue  # escape sequences; written by pydicom, which fails where it cannot
        try:
            one.value.decode(encodings[0] or "ascii")
        except UnicodeDecodeError:
            yield f"{_shown(one)} cannot be read in {declared[0] or 'the default repertoire'}"


def _references(found: Walked) -> Iterator[str]:
    """What content or annotations refer to is in the evidence, under the same SOP class."""
    sop_class = found.text("SOPClassUID")
    if sop_class in {COMPREHENSIVE_SR, BASIC_TEXT_SR}:
        known, used = set(_cited(found, _EVIDENCE)), set(_cited(found, {_CONTENT}))
    elif sop_class == PRESENTATION_STATE:
        known, used = set(_cited(found, {_SERIES})), set(_cited(found, {_ANNOTATIONS}))
    else:
        return
    for _, uid in sorted(used - known):
        yield f"{uid.decode('latin-1')} is referred to and is not in the evidence"


def _cited(found: Walked, roots: set[int] | frozenset[int]) -> Iterator[tuple[bytes, bytes]]:
    sop_class = b""
    for one in found.elements:
        if one.path[0] not in roots:
            continue
        if one.tag == _CLASS:
            sop_class = one.value.rstrip(b"\0")
        elif one.tag == _INSTANCE:
            yield sop_class, one.value.rstrip(b"\0")


def _pixels(found: Walked) -> Iterator[str]:
    pixels = found.value("PixelData")
    if pixels is None:
        return
    samples, rows, columns, bits = (
        int.from_bytes(found.value(keyword) or b"", "little")
        for keyword in ("SamplesPerPixel", "Rows", "Columns", "BitsAllocated")
    )
    wanted = samples * rows * columns * bits // 8
    if len(pixels) != wanted + wanted % 2:
        yield f"PixelData has {len(pixels)} bytes, not {wanted}"


def _state(found: Walked) -> Iterator[str]:
    """Conditions of the SR Document General module (PS3.3 C.17.2)."""
    if found.text("VerificationFlag") == "VERIFIED":
        if found.value("VerifyingObserverSequence") is None:
            yield "VERIFIED without a VerifyingObserverSequence"
        if found.text("CompletionFlag") != "COMPLETE":
            yield "VERIFIED and not COMPLETE"


def _is_repeated(one: Element) -> bool:
    root = one.path[0]
    return root in REPEATED or (root == _EQUIPMENT and one.tag in _REPEATED_EQUIPMENT)


def _vr(tag: int) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "no VR: it is private"


def _shown(one: Element) -> str:
    parts: Sequence[str] = [keyword_for_tag(tag) or f"{tag:08X}" for tag in one.path[-2:]]
    return ".".join(parts)
