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
        sentences.append(f"Flagged: {'; '.join(flagged)}." if flagged else _nothing(analysed))
        if below := _below(analysed):
            sentences.append(f"Below their thresholds: {'; '.join(below)}.")
        sentences += _in_doubt(analysed)
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
        if not found.reached
    ]


def _nothing(images: Iterable[Image]) -> str:
    if any(found.reached for found in _highest(images)):
        return "Nothing is flagged."
    return "No finding reached its threshold: nothing is flagged."


def _in_doubt(images: Iterable[Image]) -> list[str]:
    """Say of which findings the probabilities do not hold, and which of them do not flag."""
    doubted = [found for found in _highest(images) if found.doubt is not None]
    if not doubted:
        return []
    names = ", ".join(plain(found.code_meaning) for found in doubted)
    told = [f"Calibration in doubt, by reviews: {names}."]
    stopped = [
        f"{plain(found.code_meaning)}"
        f" (probability {found.probability:.2f}, threshold {found.threshold:.2f})"
        for found in doubted
        if found.reached and not found.present
    ]
    if stopped:
        told.append(f"Not flagged for that reason: {'; '.join(stopped)}.")
    return told


def _highest(images: Iterable[Image]) -> list[Finding]:
    """Per finding the image that shows it most, a present one before any other."""
    highest: dict[str, Finding] = {}
    for image in images:
        for found in image.result.findings:
            known = highest.get(found.name, found)
            highest[found.name] = max(known, found, key=_rank)
    return sorted(highest.values(), key=lambda f: (-f.probability, f.name))


def _rank(found: Finding) -> tuple[bool, bool, float]:
    return found.present, found.reached, found.probability
