"""A bundle as the pages and the API show it: its model card, its thresholds, its place."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from storage.bundles import Model, ServingModel
from storage.database import Database
from storage.ledger import Ledger
from storage.what_if import DAYS_30_S, WhatIf, what_if
from storage.workers import Workers


def overview(database: Database) -> dict[str, Any]:
    """Return every bundle, what serves, what served when, and what each worker has loaded."""
    ledger = Ledger(database)
    serving = ledger.serving()
    history, before = ledger.history(50), ledger.restorable()
    return {
        "serving": None if serving is None else serving.model.version,
        "serving_since": None if serving is None else serving.promotion.at,
        "back_to": None if before is None else before.version,
        "models": [brief(one, serving) for one in ledger.models()],
        "history": [asdict(line) for line in history],
        "workers": [asdict(one) for one in Workers(database).all()],
    }


def brief(one: Model, serving: ServingModel | None) -> dict[str, Any]:
    """Return a bundle without its card."""
    card = json.loads(one.card)
    return {
        "version": one.version, "digest": one.digest, "state": one.state, "reason": one.reason,
        "registered_at": one.registered_at, "created": card.get("created"),
        "macro_auc": card.get("metrics", {}).get("macro_auc"),
        "serving": serving is not None and serving.model.id == one.id,
    }  # fmt: skip


def whole(database: Database, named: str) -> dict[str, Any]:
    """Return a bundle with its card, its findings and the changes of its thresholds.

    Raises NotFound.
    """
    ledger = Ledger(database)
    one, serving = ledger.find(named), ledger.serving()
    card = json.loads(one.card)
    force = ledger.thresholds(one.digest)
    measured = card.get("metrics", {}).get("findings", {})
    findings = [
        {
            "name": output["label"]["name"],
            "meaning": output["label"]["code"]["meaning"],
            "threshold": force[output["label"]["name"]],
            "own_threshold": output["threshold"],
            "metrics": measured.get(output["label"]["name"]),
        }
        for output in card["findings"]
    ]
    return {
        **brief(one, serving),
        "folder": one.folder,
        "card": card,
        "findings": findings,
        "threshold_changes": [asdict(change) for change in ledger.threshold_history(one.digest)],
    }


def compare(database: Database, named: str, finding: str, value: float, now: float) -> WhatIf:
    """Return what a threshold would have done in the last 30 days. Raises NotFound and Refused."""
    ledger = Ledger(database)
    one = ledger.find(named)
    ledger.check_threshold(one.digest, finding, value)
    force = ledger.thresholds(one.digest)
    return what_if(database, one.version, force, finding, value, now - DAYS_30_S)
