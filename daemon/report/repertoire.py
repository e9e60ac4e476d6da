"""What a report's character set can hold, and how a radiologist's words come into it.

A radiologist is never turned away for a name: the form of it that the report's own character set
holds is taken, else the report is written in Unicode, else the name is put in Latin letters.
"""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from daemon.report.objects import encode
from daemon.report.said import Said
from daemon.report.subject import plain

UNICODE = "ISO_IR 192"
_DELIMITERS = {0x5C, 0x5E, 0x3D}
_DEFAULT = {"", "ISO_IR 6", "ISO 2022 IR 6"}
_LONGEST = 64  # characters of one component group of a name (PS3.5 table 6.2-1)


def settle(dataset: Dataset, reviews: Sequence[Said]) -> tuple[Dataset, tuple[Said, ...]]:
    """Return the report, in Unicode where it must be, and the reviews in words that it can hold.

    Patient and study keep their values: where those cannot be carried over to Unicode unchanged,
    the report keeps its character set and the radiologist's words give way.
    """
    named = tuple(_tidied(one) for one in reviews)
    fitting = [_fitting(dataset, one) for one in named]
    if all(one is not None for one in fitting):
        return dataset, tuple(one for one in fitting if one is not None)
    converted = in_unicode(dataset)
    if converted is not None:
        return converted, named
    return dataset, tuple(
        found if found is not None else _latin(one)
        for one, found in zip(named, fitting, strict=True)
    )


def holds(dataset: Dataset, value: str) -> bool:
    """Whether the report's character set has every character of a text."""
    terms = _terms(dataset)
    if terms[0] in _DEFAULT and _beyond_ascii(value):
        return False
    encodings = convert_encodings(terms)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return decode_bytes(encode_string(value, encodings), encodings, _DELIMITERS) == value


def _terms(dataset: Dataset) -> list[str]:
    declared = dataset.get("SpecificCharacterSet") or ""
    return [declared] if isinstance(declared, str) else [str(term or "") for term in declared]


def _beyond_ascii(value: str) -> bool:
    """Whether pydicom, which takes Latin-1 for the default repertoire, would make bytes of a text
    that are none of it."""
    return any("\x80" <= c <= "\xff" for c in value)


def in_unicode(dataset: Dataset) -> Dataset | None:
    """Return the report in UTF-8, its values unchanged; None where a text cannot be read for sure.

    A text whose bytes are no text of the declared character set would come out as another one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = deepcopy(dataset)
        made.decode()
        texts = [str(one.value) for one in made.iterall() if one.VR != "SQ"]
        if any("\ufffd" in value for value in texts):
            return None
        ascii_only = all(term in _DEFAULT for term in _terms(dataset))
        if ascii_only and any(_beyond_ascii(value) for value in texts):
            return None
        if any("SpecificCharacterSet" in item for item in _items(made)):
            return None
        if encode(deepcopy(made)) != encode(deepcopy(dataset)):
            return None
    made.SpecificCharacterSet = UNICODE
    for element in made.iterall():
        if element.VR == "PN":
            element.value = _anew(element.value)
    return made


def _anew(value: object) -> object:
    """A name that has forgotten the bytes it was read from."""
    if isinstance(value, PersonName):
        return PersonName(str(value))
    return [_anew(one) for one in value] if isinstance(value, Sequence) else value


def _items(dataset: Dataset) -> list[Dataset]:
    return [item for element in dataset.iterall() if element.VR == "SQ" for item in element.value]


def _tidied(one: Said) -> Said:
    """The reviewer by the name, or by the login where none was given."""
    groups = [_component_group(group) for group in one.reviewer.name.split("=")[:3]]
    name = "=".join(groups).rstrip("=")
    reviewer = replace(
        one.reviewer,
        name=name if name.strip("=^ ") else _component_group(plain(one.reviewer.login, _LONGEST)),
        organization=_one_line(one.reviewer.organization)[:_LONGEST],
    )
    return replace(one, reviewer=reviewer, note=one.note.strip())


def _component_group(value: str) -> str:
    return _one_line(value).strip()[:_LONGEST]


def _one_line(value: str) -> str:
    return "".join(c if c.isprintable() and c != "\\" else " " for c in value)


def _fitting(dataset: Dataset, one: Said) -> Said | None:
    """The review with a form of the name that the character set holds, if all of it fits."""
    if not (holds(dataset, one.reviewer.organization) and holds(dataset, one.note)):
        return None
    alphabetic, *_others = one.reviewer.name.split("=")
    for name in (one.reviewer.name, alphabetic):
        if name.strip("=^ ") and holds(dataset, name):
            return replace(one, reviewer=replace(one.reviewer, name=name))
    return None


def _latin(one: Said) -> Said:
    """The review in printable ASCII, which every character set has."""
    groups = [_ascii(group) for group in one.reviewer.name.split("=")]
    name = next((group for group in groups if group.strip("^ ")), plain(one.reviewer.login))
    organization = _ascii(one.reviewer.organization)
    reviewer = replace(one.reviewer, name=name[:_LONGEST], organization=organization)
    return replace(one, reviewer=reviewer, note=plain(_ascii(one.note)))


def _ascii(value: str) -> str:
    """Letters without their accents; what has no such form is left out."""
    return unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
