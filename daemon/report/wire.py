"""Reads an object's bytes again: explicit VR little endian (PS3.5 section 7), bounds checked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from daemon.report.elements import LONG_FORM

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_DEPTH = 32
_EXPLICIT_LE = b"1.2.840.10008.1.2.1"


class Malformed(ValueError):
    """The bytes are no dataset."""


@dataclass(frozen=True, slots=True)
class Element:
    """One element; `path` are the tags from the root to it. A sequence's value is empty."""

    path: tuple[int, ...]
    vr: str
    value: bytes

    @property
    def tag(self) -> int:
        """Its own tag."""
        return self.path[-1]


def file_meta(content: bytes) -> tuple[dict[int, bytes], int]:
    """Return the file meta information (PS3.10 section 7.1) and where the dataset starts.

    Raises Malformed.
    """
    if content[128:132] != b"DICM":
        raise Malformed("it is no Part 10 file")
    start, found = 132, {}
    while start + 8 <= len(content) and content[start : start + 2] == b"\2\0":
        tag, _, value, start = _element(content, start, len(content))
        found[tag] = value.rstrip(b"\0 ")
    if found.get(0x00020010) != _EXPLICIT_LE:
        raise Malformed("it is not in explicit VR little endian")
    return found, start


def walk(content: bytes) -> Iterator[Element]:
    """Give every element, those within sequences after their sequence. Raises Malformed."""
    yield from _dataset(content, 0, len(content), (), False)[1]


def _dataset(
    content: bytes, start: int, end: int, above: tuple[int, ...], delimited: bool
) -> tuple[int, list[Element]]:
    """Read the elements up to `end`, or up to an item delimiter; return where it stopped."""
    if len(above) > _DEPTH:
        raise Malformed("its sequences are nested too deeply")
    found: list[Element] = []
    last = -1
    while start < end:
        if delimited and _tag(content, start, end) == _ITEM_END:
            return start + 8, found
        tag, vr, value, after = _element(content, start, end)
        if tag <= last:
            raise Malformed(f"element {tag:08X} comes after {last:08X}")
        last = tag
        path = (*above, tag)
        if vr == "SQ":
            found.append(Element(path, vr, b""))
            start = _items(content, start + 12, after, path, found)
        else:
            found.append(Element(path, vr, value))
            start = after
    if delimited:
        raise Malformed("an item has no end")
    return start, found


def _items(
    content: bytes, start: int, end: int, path: tuple[int, ...], found: list[Element]
) -> int:
    """Read a sequence's items; `end` is -1 where its length is undefined."""
    limit = len(content) if end < 0 else end
    while start < limit:
        tag, length = _head(content, start, limit)
        start += 8
        if tag == _SEQUENCE_END and end < 0:
            return start
        if tag != _ITEM:
            raise Malformed(f"{path[-1]:08X} has something else than items")
        undefined = length == _UNDEFINED
        if not undefined and start + length > limit:
            raise Malformed(f"an item of {path[-1]:08X} is longer than its sequence")
        stop = limit if undefined else start + length
        start, inner = _dataset(content, start, stop, path, undefined)
        found += inner
    if end < 0:
        raise Malformed(f"{path[-1]:08X} has no end")
    return start


def _element(content: bytes, start: int, end: int) -> tuple[int, str, bytes, int]:
    """Return tag, VR, value and where the next element starts; -1 for a sequence without length."""
    if start + 8 > end:
        raise Malformed("it ends within an element")
    group, number, raw, short = struct.unpack_from("<HH2sH", content, start)
    tag, vr = group << 16 | number, raw.decode("latin-1")
    value, length = start + 8, short
    if vr in LONG_FORM:
        if start + 12 > end:
            raise Malformed("it ends within an element")
        (length,) = struct.unpack_from("<I", content, start + 8)
        value = start + 12
    if length == _UNDEFINED and vr == "SQ":
        return tag, vr, b"", -1
    if value + length > end:
        raise Malformed(f"element {tag:08X} is longer than what is left")
    if length % 2:
        raise Malformed(f"element {tag:08X} has an odd length")
    return tag, vr, b"" if vr == "SQ" else content[value : value + length], value + length


def _head(content: bytes, start: int, end: int) -> tuple[int, int]:
    if start + 8 > end:
        raise Malformed("it ends within a sequence")
    group, number, length = struct.unpack_from("<HHI", content, start)
    return group << 16 | number, length


def _tag(content: bytes, start: int, end: int) -> int:
    return _head(content, start, end)[0]
