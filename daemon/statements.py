"""What the reports of a file say, before it is known which studies they are of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from daemon.codes import ALL, QUESTIONS, Code, Codes
from daemon.errors import DaemonError
from storage.labelled import ReportLabel

SHOWN = 10


class WrongLabels(DaemonError):
    """The file of labels cannot be used."""


@dataclass(slots=True)
class Statements:
    """Labels gathered from reports, and everything about them that cannot be used.

    unknown: codes without a meaning, and how often each came. faults: whole sentences.
    """

    codes: Codes
    findings: Sequence[str]  # of the bundle that serves
    labels: dict[tuple[str, str], ReportLabel] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    reports: int = 0

    def concluded(self, accession: str, codes: Sequence[Code]) -> bool:
        """Take a conclusion, coded perhaps in several schemes. False where it means nothing."""
        for code in codes:
            if code in self.codes.no_findings:
                self._say(accession, self.codes.no_findings[code], present=False)
                return True
            if code in self.codes.findings:
                self._say(accession, self.codes.findings[code], present=True)
                return True
        return self._ignored(codes) or self._unknown(codes)

    def observed(
        self,
        accession: str,
        codes: Sequence[Code],
        value: Sequence[Code],
        text: str | None,
        truth: bool | None = None,
    ) -> bool:
        """Take an observation: what was looked for, and whether it is there, as a code, as a whole
        text or as a truth value. False where it means nothing."""
        if self._ignored(codes):
            return True
        if any(code in QUESTIONS for code in codes) and value:
            return self.concluded(accession, value)
        finding = next((self.codes.findings[c] for c in codes if c in self.codes.findings), None)
        if finding is None:
            return self._unknown(codes)
        present = truth
        if present is None:
            present = next((self.codes.values[c] for c in value if c in self.codes.values), None)
        if present is None and text is not None:
            present = self.codes.texts.get(text.strip().casefold())
        if present is None:
            return self._unknown(value) if value else self._unknown((("a text", finding),))
        self._say(accession, finding, present=present)
        return True

    def checked(self, file: object, *, skip_unknown: bool) -> list[ReportLabel]:
        """Return the labels. Raises WrongLabels, which names what is wrong."""
        faults = list(self.faults)
        if self.unknown and not skip_unknown:
            listed = [f"{code} ({count} times)" for code, count in self.unknown.most_common(SHOWN)]
            more = len(self.unknown) - SHOWN
            faults.append(
                f"without a meaning: {', '.join(listed)}{f' and {more} more' if more > 0 else ''}; "
                "name them in a file of codes, or let them be with --skip-unknown"
            )
        if faults:
            more = len(faults) - SHOWN
            rest = f"; and {more} more" if more > 0 else ""
            raise WrongLabels(f"Nothing was imported. {file}: {'; '.join(faults[:SHOWN])}{rest}.")
        if not self.labels:
            raise WrongLabels(f"{file} has no label.")
        return list(self.labels.values())

    def _say(self, accession: str, finding: str, *, present: bool) -> None:
        for name in self.findings if finding == ALL else (finding,):
            if name not in self.findings:
                continue  # known, and nothing that this bundle looks for
            key = (accession, name)
            if key in self.labels and self.labels[key].present != present:
                self.faults.append(
                    f"reports of accession number {accession} conflict on {name}: "
                    "import the last version alone"
                )
            else:
                self.labels[key] = ReportLabel(accession, name, present)

    def _ignored(self, codes: Sequence[Code]) -> bool:
        return any(code in self.codes.ignored for code in codes)

    def _unknown(self, codes: Sequence[Code]) -> bool:
        told = "/".join(f"{scheme or 'no scheme'}|{value}" for value, scheme in codes)
        self.unknown[told or "no code"] += 1
        return False
