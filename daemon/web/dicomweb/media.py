"""Media types: what a client accepts (RFC 9110 12.5.1, PS3.18 8.7), and what we give."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastapi import HTTPException

ANY = "*"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
OCTETS = "application/octet-stream"
MULTIPART = "multipart/related"

# Native pixels are the same bytes in both; of these, explicit VR is what no wish stands for
LITTLE_ENDIAN = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1"})
NATIVE = LITTLE_ENDIAN | {"1.2.840.10008.1.2.2"}

FRAME_TYPES: dict[str, str] = {
    **dict.fromkeys(sorted(NATIVE), OCTETS),
    "1.2.840.10008.1.2.4.50": "image/jpeg",
    "1.2.840.10008.1.2.4.51": "image/jpeg",
    "1.2.840.10008.1.2.4.57": "image/jpeg",
    "1.2.840.10008.1.2.4.70": "image/jpeg",
    "1.2.840.10008.1.2.4.80": "image/jls",
    "1.2.840.10008.1.2.4.81": "image/jls",
    "1.2.840.10008.1.2.4.90": "image/jp2",
    "1.2.840.10008.1.2.4.91": "image/jp2",
    "1.2.840.10008.1.2.4.201": "image/jphc",
    "1.2.840.10008.1.2.4.202": "image/jphc",
    "1.2.840.10008.1.2.4.203": "image/jphc",
    "1.2.840.10008.1.2.5": "image/dicom-rle",
}
"""Transfer syntax to the media type of its frames (PS3.18 table 8.7.3-2 and following)."""

_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;,\s]*)')
_PARAMETERS = r'(?:\s*;\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,"\s]*))*'
_RANGE = re.compile(rf"\s*([^\s;,]+)({_PARAMETERS})\s*(?:,|$)")
_LONGEST = 2000  # characters of a header that are read


@dataclass(frozen=True, slots=True)
class Media:
    """One media range of an Accept header, its parameters by lower-case name."""

    type: str
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """The type of the parts where it is multipart, else the type itself."""
        return self.parameters.get("type", ANY).lower() if self.type == MULTIPART else self.type

    @property
    def transfer_syntax(self) -> str | None:
        """The transfer syntax asked for, None where none is."""
        return self.parameters.get("transfer-syntax")

    @property
    def is_any(self) -> bool:
        """Whether the client takes whatever there is."""
        return self.type in ("*/*", "application/*") or (
            self.type == MULTIPART and self.part in (ANY, "*/*")
        )


def accepted(header: str | None) -> list[Media]:
    """Return what an Accept header names, the preferred first; without one, anything."""
    found: list[tuple[float, Media]] = []
    for match in _RANGE.finditer((header or "*/*")[:_LONGEST]):
        parameters = {
            name.lower(): value.strip('"') for name, value in _PARAMETER.findall(match[2])
        }
        weight = parameters.pop("q", "1")
        quality = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 1.0
        if quality > 0:
            found.append((quality, Media(match[1].lower(), parameters)))
    return [media for _, media in sorted(found, key=lambda one: -one[0])]


def check_json(header: str | None) -> None:
    """Raise 406 where the client takes no DICOM JSON."""
    if not any(
        one.is_any or one.type in (DICOM_JSON, "application/json") for one in accepted(header)
    ):
        raise HTTPException(406, f"Only {DICOM_JSON} is given here; Accept names something else.")


def whole_objects(header: str | None, syntaxes: Iterable[str], *, one: bool) -> bool:
    """Return whether a multipart answer is wanted, of objects in these transfer syntaxes.

    `one`: a single object may come without parts. Raises 406 where the client takes neither, or
    wants a transfer syntax that an object is not stored in.
    """
    ranges = accepted(header)
    fitting = [
        media
        for media in ranges
        if media.is_any
        or (media.type == MULTIPART and media.part == DICOM)
        or (one and media.type == DICOM)
    ]
    if not fitting:
        raise HTTPException(
            406, f'Objects are given as {MULTIPART}; type="{DICOM}", and one of them as {DICOM}.'
        )
    wanted = {media.transfer_syntax for media in fitting}
    stored = set(syntaxes)
    if not wanted & {None, ANY} and not stored <= wanted:
        raise _no_transcoding(stored)
    return fitting[0].type != DICOM


def frame_type(header: str | None, syntax: str) -> str:
    """Return the media type of the frames. Raises 406 where only another would do."""
    given = FRAME_TYPES.get(syntax, OCTETS)
    for media in accepted(header):
        if media.is_any or (media.part in (given, "image/*") and _same(media, syntax, given)):
            return given
        if media.part == OCTETS and media.transfer_syntax in (ANY, syntax):
            return given
    raise _no_transcoding({syntax})


def _same(media: Media, syntax: str, given: str) -> bool:
    wanted = media.transfer_syntax
    if wanted is None:  # of octets: explicit VR little endian; of an image: as it is
        return given != OCTETS or syntax in LITTLE_ENDIAN
    return wanted in (ANY, syntax) or {wanted, syntax} <= LITTLE_ENDIAN


def _no_transcoding(stored: Iterable[str]) -> HTTPException:
    return HTTPException(
        406,
        f"Nothing is transcoded here. Stored is {', '.join(sorted(stored))}; ask for that, or for"
        " transfer-syntax=*.",
    )
