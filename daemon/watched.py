"""What is watched, as the pages, the API and the command line show it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from daemon.alarm_text import MEASURES, shown
from storage.alarms import Alarms
from storage.database import Database
from storage.doubts import Doubts
from storage.ledger import Ledger
from storage.watching import StationRow, Watching


def alarms(database: Database, closed: int = 0) -> dict[str, Any]:
    """Return the alarms that are open, and the newest that were closed."""
    kept = Alarms(database)
    over = [one for one in kept.recent(closed + 200) if one.closed_at is not None]
    return {
        "open": [shown(one) for one in kept.open()],
        "closed": [shown(one) for one in over[:closed]],
    }


def overview(database: Database) -> dict[str, Any]:
    """Return how every station stands under the bundle that serves, and what reviews say."""
    serving = Ledger(database).serving()
    if serving is None:
        return {"bundle": None, "digest": None, "stations": [], "findings": []}
    digest, watching = serving.model.digest, Watching(database)
    note = watching.note("reviews") or {}
    reviews = note.get("findings", {}) if note.get("digest") == digest else {}
    doubts = Doubts(database).in_force(digest)
    findings = [
        {
            "name": name,
            "doubt": asdict(doubts[name]) if name in doubts else None,
            "all": reviews.get(name, {}).get("all"),
            "stations": reviews.get(name, {}).get("stations", {}),
        }
        for name in serving.model.thresholds
    ]
    return {
        "bundle": serving.model.version, "digest": digest,
        "stations": [_station(one) for one in watching.stations(digest)],
        "findings": findings,
    }  # fmt: skip


def _station(row: StationRow) -> dict[str, Any]:
    against = "the bundle's reference"
    if row.reference is not None:
        against = f"{row.reference['images']} images of its own, by {row.reference_by}"
    return {
        "station": row.station, "images": row.images, "quiet": row.quiet, "against": against,
        "reference_at": row.reference_at, "updated_at": row.updated_at,
        "drifted": [MEASURES.get(name, name) for name in row.left],
        "to_accept": row.accepted_by is not None,
    }  # fmt: skip
