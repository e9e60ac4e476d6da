"""Trials of candidates as the pages, the API and the command line show them; no patient in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from daemon.trial_figures import figures
from storage.database import Database
from storage.ledger import Ledger
from storage.shadow import Shadow
from storage.shadow_records import Compared, ShadowState, Trial
from storage.trials import Trials

DOTS = 300  # of a finding in the picture, the newest


@dataclass(frozen=True, slots=True)
class Dots:
    """A finding's decisions for a picture: serving and candidate's probabilities, and whether the
    decisions differ; thresholds are the last ones."""

    finding: str
    threshold: float
    serving_threshold: float
    points: Sequence[tuple[float, float, bool]]


def shown(database: Database, named: str) -> dict[str, Any]:
    """Return the last trial of a bundle with its figures, and the ones before. Raises NotFound."""
    trials = Trials(database).of(Ledger(database).find(named).digest)
    if not trials:
        return {"trial": None, "figures": None, "earlier": []}
    last, *earlier = trials
    found = figures(Shadow(database).compared(last.id))
    return {
        "trial": brief(last), "figures": asdict(found), "earlier": [brief(one) for one in earlier],
    }  # fmt: skip


def brief(one: Trial) -> dict[str, Any]:
    """Return a trial with the versions in the place of the bundles."""
    return {
        "id": one.id, "version": one.model.version, "digest": one.model.digest,
        "against": one.against.version, "state": one.state, "images": one.images,
        "done": one.done, "started_by": one.started_by, "started_at": one.started_at,
        "until": one.until, "ended_by": one.ended_by, "ended_at": one.ended_at,
        "reason": one.reason,
    }  # fmt: skip


def dots(database: Database, trial_id: Any) -> list[Dots]:
    """Return what the picture of a trial shows."""
    compared = Shadow(database).compared(trial_id)
    return [_dots(name, rows) for name, rows in _by_finding(compared).items()]


def _by_finding(compared: Sequence[Compared]) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in compared:
        if one.state is ShadowState.ANALYSED:
            for decision in one.decisions:
                found.setdefault(decision.name, []).append(decision)
    return found


def _dots(name: str, rows: list[Any]) -> Dots:
    points = [
        (one.serving_probability, one.probability, one.present != one.serving_present)
        for one in rows[-DOTS:]
    ]
    return Dots(name, rows[-1].threshold, rows[-1].serving_threshold, points)
