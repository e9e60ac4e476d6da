"""A stored report read back: what it says of each image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from daemon.report import codes
from daemon.report.codes import Code
from daemon.report.items import Reference


@dataclass(frozen=True, slots=True)
class Group:
    """One measurement group: a finding in an image, or why an image was not analysed."""

    name: str  # the finding's key, or "not_analysed"
    finding: str  # as people say it, "" where the image was not analysed
    presence: str
    probability: float | None
    threshold: float | None
    algorithm: str
    source: Reference | None
    explanation: Reference | None
    tracking_uid: str
    comments: tuple[str, ...] = field(default=())


def children(item: Dataset, name: Code) -> list[Dataset]:
    """Return the content items of that concept name directly below an item."""
    return [child for child in item.get("ContentSequence", ()) if is_named(child, name)]


def is_named(item: Dataset, name: Code) -> bool:
    """Tell whether a content item has that concept name."""
    found = item.get("ConceptNameCodeSequence")
    return bool(found) and (found[0].get("CodeValue"), found[0].get("CodingSchemeDesignator")) == (
        name.value,
        name.scheme_designator,
    )


def texts(item: Dataset, name: Code) -> list[str]:
    """Return the TEXT values of that concept name directly below an item."""
    return [str(child.TextValue) for child in children(item, name) if child.ValueType == "TEXT"]


def measurement_groups(report: Dataset) -> Iterator[Dataset]:
    """Give the content items of the groups of TID 1500."""
    for container in children(report, codes.MEASUREMENTS):
        yield from children(container, codes.GROUP)


def groups(report: Dataset) -> list[Group]:
    """Return what every group says, in their order."""
    return [_group(item) for item in measurement_groups(report)]


def meaning(item: Dataset, name: Code) -> str:
    """Return the meaning of the first CODE of that concept name below an item, or ""."""
    found = [child for child in children(item, name) if child.ValueType == "CODE"]
    return str(found[0].ConceptCodeSequence[0].CodeMeaning) if found else ""


def _group(item: Dataset) -> Group:
    identifiers = texts(item, codes.TRACKING_IDENTIFIER)
    regions = children(item, codes.REGION)
    sources = children(item, codes.SOURCE_OF_MEASUREMENT) + [
        source for region in regions for source in children(region, codes.SOURCE)
    ]
    return Group(
        name=identifiers[0].rpartition(".")[2] if identifiers else "",
        finding=meaning(item, codes.FINDING),
        presence=meaning(item, codes.PRESENCE),
        probability=_number(item, codes.PROBABILITY),
        threshold=_number(item, codes.THRESHOLD),
        algorithm=" ".join(texts(item, codes.SOFTWARE_VERSION)),
        source=_reference(sources),
        explanation=_reference(children(item, codes.EXPLANATION)),
        tracking_uid="".join(str(child.UID) for child in children(item, codes.TRACKING_UID)),
        comments=tuple(texts(item, codes.COMMENT)),
    )


def _number(item: Dataset, name: Code) -> float | None:
    found = children(item, name)
    return float(found[0].MeasuredValueSequence[0].NumericValue) if found else None


def _reference(found: list[Dataset]) -> Reference | None:
    if not found:
        return None
    one = found[0].ReferencedSOPSequence[0]
    states = one.get("ReferencedSOPSequence")
    state = None
    if states:
        state = Reference(
            str(states[0].ReferencedSOPClassUID), str(states[0].ReferencedSOPInstanceUID)
        )
    return Reference(str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID), state)
