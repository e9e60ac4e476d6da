"""The study in a few sentences: what is flagged and why, and what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from daemon.report.subject import Image, plain
from storage.records import Finding


def summary(images: Sequence[Image]) -> str:
    """Say in a sentence or three what is flagged, what is not, and what was left out."""
    analysed = [image for image in images if image.analysed]
    sentences = [f"{len(analysed)} of {len(images)} images analysed."]
    if analysed:
        flagged = _flagged(analysed)
        sentences.append(
            f"Flagged: {'; '.join(flagged)}."
            if flagged
            else "No finding reached its threshold: nothing is flagged."
        )
        if below := _below(analysed):
            sentences.append(f"Below their thresholds: {'; '.join(below)}.")
    if remarks := [plain(image.result.reason) for image in analysed if image.result.reason]:
        sentences.append(f"Note: {' '.join(dict.fromkeys(remarks))}")
    reasons = [plain(image.result.reason or "") for image in images if not image.analysed]
    if reasons:
        sentences.append(f"Not analysed: {'; '.join(dict.fromkeys(reasons))}")
    return " ".join(sentences)


def _flagged(images: Iterable[Image]) -> list[str]:
    return [
        f"{plain(found.code_meaning)}"
        f" (probability {found.probability:.2f}, threshold {found.threshold:.2f})"
        for found in _highest(images)
        if found.present
    ]


def _below(images: Iterable[Image]) -> list[str]:
    return [
        f"{plain(found.code_meaning)} ({found.probability:.2f})"
        for found in _highest(images)
        if not found.present
    ]


def _highest(images: Iterable[Image]) -> list[Finding]:
    """Per finding the image that shows it most, a present one before any other."""
    highest: dict[str, Finding] = {}
    for image in images:
        for found in image.result.findings:
            known = highest.get(found.name, found)
            highest[found.name] = max(known, found, key=lambda f: (f.present, f.probability))
    return sorted(highest.values(), key=lambda f: (-f.probability, f.name))
