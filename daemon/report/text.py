"""The report as text that a person can read, from the content tree alone."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset


def render_text(dataset: Dataset) -> str:
    """Return an SR document as indented lines, with neither patient name nor id."""
    lines = [
        f"{_meaning(dataset, 'ConceptNameCodeSequence')}, version {dataset.InstanceNumber}",
        f"study     {dataset.StudyInstanceUID}",
        f"accession {dataset.get('AccessionNumber') or '(none)'}",
        f"report    {dataset.SOPInstanceUID}",
        f"made      {dataset.ContentDate} {str(dataset.ContentTime)[:6]}",
        f"state     {dataset.CompletionFlag}, {dataset.VerificationFlag},"
        f" {dataset.get('PreliminaryFlag', '')}",
        "",
        *_lines(dataset, 0),
    ]
    return "\n".join(lines) + "\n"


def _lines(item: Dataset, depth: int) -> Iterator[str]:
    for child in item.get("ContentSequence", ()):
        yield f"{'  ' * depth}{_meaning(child, 'ConceptNameCodeSequence')}{_value(child)}"
        yield from _lines(child, depth + 1)


def _value(item: Dataset) -> str:
    match item.ValueType:
        case "CODE":
            return f": {_meaning(item, 'ConceptCodeSequence')}"
        case "TEXT":
            return f": {item.TextValue}"
        case "UIDREF":
            return f": {item.UID}"
        case "NUM":
            measured = item.MeasuredValueSequence[0]
            unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
            return f": {measured.NumericValue}{'' if unit.startswith('{') else ' ' + unit}"
        case "IMAGE":
            return f": {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID}"
        case _:
            return ""


def _meaning(item: Dataset, keyword: str) -> str:
    found = item.get(keyword)
    return str(found[0].CodeMeaning) if found else ""
