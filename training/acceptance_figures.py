"""What an acceptance test has found: first reads of a sample against what the bundle decided.

A case is a study: a finding is there where a reader saw it in one of its images, and not there
where the reader said so of every image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from storage.acceptance_records import ANY, AcceptanceTest, Decision, FirstRead, NewCase
from training.acceptance import Figures, Read, Report, figures, report
from training.errors import TooFewCases

Said = bool | None
"""None: unsure, or not said of every image."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two readers, or a reader and the bundle, on the cases that both have judged."""

    first: str
    second: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Measured:
    """One finding.

    reference: what most readers said. left_out: cases without one, by why. of_model: against the
    reference, None where no case has one. by_reader: against each reader alone.
    """

    finding: str
    reference: Mapping[str, int]
    left_out: Mapping[str, int]
    of_model: Report | None
    by_reader: tuple[Pair, ...]
    between: tuple[Pair, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return asdict(self)


def measure(
    test: AcceptanceTest, cases: Sequence[NewCase], reads: Sequence[FirstRead]
) -> list[Measured]:
    """Measure "any finding" and each finding of the bundle.

    Raises:
        TooFewCases: nothing was read.
    """
    if not reads:
        raise TooFewCases("An acceptance test without a first read has no report.")
    by_case: dict[int, dict[int, FirstRead]] = {}
    for read in reads:
        by_case.setdefault(read.study_id, {})[read.account] = read
    return [_measured(test, cases, by_case, finding) for finding in (ANY, *test.plan.thresholds)]


def decided(decisions: Mapping[str, Decision], finding: str) -> bool:
    """Whether the bundle has found it in a study."""
    if finding == ANY:
        return any(decision.present for decision in decisions.values())
    return finding in decisions and decisions[finding].present


def said(case: NewCase, read: FirstRead, finding: str) -> Said:
    """What a first read comes to."""
    if finding != ANY:
        words = read.said.get(finding, {}).values()
        if True in words:
            return True
        return None if None in words or len(words) < case.images else False
    of_each = {said(case, read, name) for name in case.decisions}
    if True in of_each:
        return True
    return None if None in of_each else False


def _measured(
    test: AcceptanceTest,
    cases: Sequence[NewCase],
    by_case: Mapping[int, Mapping[int, FirstRead]],
    finding: str,
) -> Measured:
    words: list[dict[str, Said]] = []
    for case in cases:
        of_case = by_case.get(case.study_id, {})
        words.append(
            {
                reader.login: said(case, of_case[reader.account], finding)
                for reader in test.readers
                if reader.account in of_case
            }
        )
    left_out = {"not read": 0, "unsure or not judged": 0, "readers differ": 0}
    reference: list[Said] = []
    for word in words:
        truth, why = _majority(word)
        reference.append(truth)
        if why:
            left_out[why] += 1
    model = [decided(case.decisions, finding) for case in cases]
    logins = [reader.login for reader in test.readers]
    against = _reads(cases, reference, model)
    return Measured(
        finding=finding,
        reference={
            "present": sum(one is True for one in reference),
            "absent": sum(one is False for one in reference),
        },
        left_out=left_out,
        of_model=report(against) if against else None,
        by_reader=_pairs(
            [(login, "model") for login in logins],
            lambda login, _: _reads(cases, [one.get(login) for one in words], model),
        ),
        between=_pairs(
            list(combinations(logins, 2)),
            lambda one, two: _reads(
                cases, [w.get(one) for w in words], [w.get(two) for w in words]
            ),
        ),
    )


def _majority(words: Mapping[str, Said]) -> tuple[Said, str]:
    """What most readers said; else None, and why."""
    if not words:
        return None, "not read"
    yes, no = (sum(word is side for word in words.values()) for side in (True, False))
    if yes == no == 0:
        return None, "unsure or not judged"
    return (None, "readers differ") if yes == no else (yes > no, "")


def _reads(cases: Sequence[NewCase], truth: Sequence[Said], other: Sequence[Said]) -> list[Read]:
    return [
        Read(str(case.study_id), case.patient, one, two, case.weight, case.groups)
        for case, one, two in zip(cases, truth, other, strict=True)
        if one is not None and two is not None
    ]


def _pairs(
    names: Sequence[tuple[str, str]], reads: Callable[[str, str], list[Read]]
) -> tuple[Pair, ...]:
    found = []
    for first, second in names:
        both = reads(first, second)
        if both:
            found.append(Pair(first, second, figures(both)))
    return tuple(found)
