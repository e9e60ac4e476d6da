"""Promotion and roll-back: what the gate has to have said, by whomever the act is.

The gate's verdict counts where it passed the bundle against what serves now. Whoever promotes
another one overrides the gate, and the history says so. By rule nothing is overridden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from daemon.scheduled import passed
from storage.bundles import Model, Promotion
from storage.database import Database
from storage.ledger import NO_REASON, Ledger, LedgerRefuses
from storage.runs import Runs
from storage.shadow_records import TrialState
from storage.trials import Trials

HOW = "Who promotes it all the same has to override the gate, and to say why."


class GateNotPassed(LedgerRefuses):
    """The gate has not passed this bundle against what serves."""


def doubt(database: Database, candidate: Model) -> str | None:
    """Say why no verdict carries a promotion; None where one does."""
    run, serving = Runs(database).that_made(candidate.digest), Ledger(database).serving()
    if run is None:
        return "No run of this service made this bundle, so that the gate has not judged it."
    verdict = passed(run)
    if verdict is None:
        return f"The gate has not judged this bundle: run {run.id} is {run.state}."
    if not verdict:
        return f"The gate refused this bundle: {_reasons(run.outcome or {})}"
    parent = (run.outcome or {}).get("origin", {}).get("parent")
    if serving is not None and parent != serving.model.digest:
        return (
            f"The gate compared this bundle with {(run.outcome or {}).get('parent')}, which is not "
            "what serves now."
        )
    return None


def promote(
    database: Database, named: str, actor: str, reason: str, at: float, *, override: bool = False
) -> Promotion:
    """Let a bundle serve, and end the trial that runs, in one commit.

    Raises NotFound; GateNotPassed where nothing overrides the gate; and LedgerRefuses as
    `Ledger.promote` does.
    """
    ledger, trials = Ledger(database), Trials(database)
    candidate = ledger.find(named)
    with database.write():
        against = doubt(database, candidate)
        if not reason.strip():
            raise LedgerRefuses(NO_REASON)
        if against is not None and not override:
            raise GateNotPassed(f"{against} {HOW}")
        if against is not None:
            reason = f"{reason.strip()} [The gate was overridden. {against}]"
        line = ledger.promote(candidate.digest, actor, reason, at)
        running = trials.open()
        if running is not None:
            same = running.model.digest == candidate.digest
            state = TrialState.PROMOTED if same else TrialState.STOPPED
            trials.end(running.id, state, actor, f"{candidate.version} was promoted.", at)
    return line


def _reasons(outcome: Mapping[str, Any]) -> str:
    return " ".join(reason["text"] for reason in outcome["verdict"]["reasons"])
