"""Acceptance tests of a site: drawn from what the serving bundle has classified, and reported."""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from daemon.acceptance_page import render
from daemon.errors import DaemonError
from daemon.findings import CATALOGUE
from storage.acceptance import Acceptances
from storage.acceptance_pool import pool
from storage.acceptance_records import (
    ANY,
    AcceptanceTest,
    Candidate,
    NewCase,
    Plan,
    Pool,
    SampleReader,
    StoredReport,
)
from storage.accounts import Accounts
from storage.bundles import ServingModel
from storage.database import Database
from storage.errors import NotFound, Refused
from storage.ledger import Ledger
from storage.people import Role
from training import acceptance as kit
from training.acceptance_figures import decided, measure
from training.acceptance_picture import pictures
from training.allocation import allocate
from training.errors import TooFewCases
from training.subgroups import COLUMNS, group_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")


class CannotDraw(DaemonError):
    """An acceptance test cannot be drawn."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an acceptance test is to show; `storage.acceptance_records.Plan` says the rest.

    prevalence: of the finding, None: as the share flagged suggests. seed: "" for a new one.
    """

    name: str
    finding: str
    half_width: float
    sensitivity: float
    specificity: float
    prevalence: float | None
    since: float
    until: float
    seed: str = ""


def draw(
    database: Database, wanted: Wanted, logins: Sequence[str], actor: str, now: float
) -> AcceptanceTest:
    """Draw a sample and store it.

    Raises CannotDraw, and TooFewCases, which says how many studies there are and are needed.
    """
    serving = Ledger(database).serving()
    if serving is None:
        raise CannotDraw("No bundle serves yet: start the service once.")
    _check(wanted, serving)
    readers = _readers(database, logins)
    version, thresholds = serving.model.version, serving.thresholds
    studies = pool(database, wanted.since, wanted.until, readers, version, thresholds)
    flags = {str(one.study_id): decided(one.decisions, wanted.finding)
             for one in studies.candidates}  # fmt: skip
    flagged = sum(flags.values())
    seed = wanted.seed or secrets.token_hex(8)
    plan = kit.plan(wanted.half_width, wanted.sensitivity, wanted.specificity)
    try:
        strata = allocate(plan, flagged, len(flags) - flagged, wanted.prevalence)
    except ValueError as error:
        raise CannotDraw(str(error)) from error
    except TooFewCases as error:
        raise TooFewCases(f"{error} {_left_out(studies)}") from error
    drawn = kit.draw(flags, strata.flagged, strata.unflagged, seed)
    by_id = {str(one.study_id): one for one in studies.candidates}
    cases = [_case(by_id[one.case], one.weight) for one in drawn]
    counts = {
        "flagged": flagged, "others": len(flags) - flagged,
        "drawn_flagged": strata.flagged, "drawn_others": strata.unflagged,
        **asdict(studies.excluded),
    }  # fmt: skip
    stored = Plan(
        name=wanted.name, finding=wanted.finding, half_width=wanted.half_width,
        sensitivity=wanted.sensitivity, specificity=wanted.specificity, seed=seed,
        version=version, digest=serving.model.digest, thresholds=thresholds, counts=counts,
        since=wanted.since, until=wanted.until,
    )  # fmt: skip
    return Acceptances(database).draw(stored, readers, cases, actor, now)


def make_report(database: Database, test: AcceptanceTest, actor: str, now: float) -> StoredReport:
    """Make a closed test's report and keep it, or return the one that is kept.

    Raises Refused while the test is open, and TooFewCases.
    """
    tests = Acceptances(database)
    if test.closing is None:
        raise Refused(f"{test.plan.name} is open: its report is made when it is closed.")
    kept = tests.report(test.id)
    if kept is not None:
        return kept
    found = measure(test, tests.cases(test.id), tests.reads(test.id))
    drawn = {name: base64.b64encode(png).decode("ascii") for name, png in pictures(found).items()}
    figures = {
        "name": test.plan.name,
        "plan": asdict(test.plan),
        "readers": [
            {"login": one.login, "name": one.name, "read": test.read.get(one.account, 0)}
            for one in test.readers
        ],
        "cases": test.cases,
        "complete": test.complete,
        "drawn": {"at": test.drawn_at, "by": test.actor},
        "closed": asdict(test.closing),
        "reported_at": now,
        "findings": [{**one.as_json(), "meaning": meaning(one.finding)} for one in found],
        "reached": _reached(test, found[0] if test.plan.finding == ANY else
                            next(one for one in found if one.finding == test.plan.finding)),
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(figures), parse_constant=lambda _: None)
    page = render(plain, drawn)
    made = StoredReport(json.dumps(plain, indent=1), json.dumps(drawn), page, now)
    return tests.keep_report(test.id, made, actor)


def meaning(finding: str) -> str:
    """Return a finding as people say it."""
    if finding == ANY:
        return "Any finding"
    known = CATALOGUE.get(finding)
    return known.code_meaning if known else finding.replace("_", " ").capitalize()


def _check(wanted: Wanted, serving: ServingModel) -> None:
    if NAME.fullmatch(wanted.name) is None:
        raise CannotDraw(
            "A test's name has letters, digits, spaces, dots, underscores and hyphens, 64 at most, "
            "and begins with a letter or a digit."
        )
    known = [ANY, *serving.thresholds]
    if wanted.finding not in known:
        raise CannotDraw(f"The bundle knows no {wanted.finding[:64]}; it is {', '.join(known)}.")
    for name in ("half_width", "sensitivity", "specificity", "prevalence"):
        value = getattr(wanted, name)
        if value is not None and not 0 < value < 1:
            told = name.replace("_", "-")
            raise CannotDraw(f"The {told} is above 0 and below 1. Received: {value:g}.")
    if len(wanted.seed) > 64:
        raise CannotDraw("A seed has 64 characters at most.")
    if wanted.since >= wanted.until:
        raise CannotDraw("The first day is after the last one.")


def _readers(database: Database, logins: Sequence[str]) -> list[SampleReader]:
    if not logins:
        raise CannotDraw("A test needs at least one reader.")
    readers = []
    for login in dict.fromkeys(logins):
        try:
            account = Accounts(database).by_login(login)
        except NotFound as error:
            raise CannotDraw(str(error)) from error
        if account.role is not Role.RADIOLOGIST or account.disabled_at is not None:
            raise CannotDraw(f"{login} is no radiologist who may sign in.")
        readers.append(SampleReader(account.id, account.login, account.name))
    return readers


def _left_out(studies: Pool) -> str:
    """Which studies of the time cannot be drawn, in words."""
    out = studies.excluded
    told = (
        (out.other_bundle, "not of the serving bundle"), (out.seen, "seen by a reader before"),
        (out.removed, "without their files"), (out.learnt, "of patients learnt from"),
        (out.sampled, "in another open test"),
    )  # fmt: skip
    parts = [f"{count} {why}" for count, why in told if count]
    return f"Left out: {', '.join(parts)}." if parts else "No study of that time is left out."


def _case(candidate: Candidate, weight: float) -> NewCase:
    age = candidate.age or _years(candidate.birth_date, candidate.study_date)
    texts = {"view": candidate.view, "sex": candidate.sex, "age": age,
             "station": candidate.station}  # fmt: skip
    return NewCase(
        candidate.study_id, candidate.patient, weight, candidate.images, candidate.decisions,
        {column: group_of(column, texts[column]) for column in COLUMNS},
    )  # fmt: skip


def _years(born: str, at: str) -> str:
    """The age at the study in years, "" where it is not known."""
    try:
        first, last = (date(int(d[:4]), int(d[4:6]), int(d[6:8])) for d in (born, at))
    except ValueError:
        return ""
    years = last.year - first.year - ((last.month, last.day) < (first.month, first.day))
    return str(years) if years >= 0 else ""


def _reached(test: AcceptanceTest, found: Any) -> dict[str, Any]:
    """Whether the intervals became as narrow as wanted."""
    whole = None if found.of_model is None else found.of_model.whole
    halves = {}
    for name in ("sensitivity", "specificity"):
        interval = getattr(whole, name, None)
        halves[name] = (
            None
            if interval is None
            else max(interval.value - interval.low, interval.high - interval.value)
        )
    most = test.plan.half_width
    narrow = all(half is not None and half <= most for half in halves.values())
    return {"finding": test.plan.finding, "meaning": meaning(test.plan.finding),
            "wanted": most, **halves, "narrow": narrow}  # fmt: skip
