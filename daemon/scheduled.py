"""Schedules and runs as the pages, the API and the command line show them."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from daemon import duetimes
from daemon.errors import WrongTiming
from storage.database import Database
from storage.holdout import Holdouts
from storage.runs import Runs
from storage.schedule_records import Run, RunKind, Schedule
from storage.schedules import Schedules

NAME = r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}"


def checked_name(name: str) -> str:
    """Return a schedule's name. Raises WrongTiming where it cannot be one, or is a kind's."""
    if not re.fullmatch(NAME, name) or name in list(RunKind):
        raise WrongTiming(
            "A schedule's name has 1 to 64 letters, digits, spaces or any of _.- and is not that "
            f"of a kind. Received: {name[:80]!r}."
        )
    return name


def overview(database: Database, now: float, limit: int = 50) -> dict[str, Any]:
    """Return the schedules, the newest runs, and how the hold-out stands."""
    holdout = Holdouts(database).show()
    return {
        "schedules": [shown(one, now) for one in Schedules(database).all()],
        "runs": [brief(one) for one in Runs(database).rows(limit)],
        "holdout": None if holdout is None else asdict(holdout),
    }


def shown(one: Schedule, now: float) -> dict[str, Any]:
    """Return a schedule with its next due time."""
    timing = one.timing
    try:
        coming = duetimes.next_due(one, now)
    except (ValueError, LookupError, OSError):  # its time zone is gone from the machine
        coming = None
    return {
        "name": one.name, "kind": one.kind, "when": timing.cron or every(timing.every_s or 0),
        "timezone": timing.timezone, "window": str(timing.window) if timing.window else None,
        "next_due": coming, "created_by": one.created_by, "created_at": one.created_at,
    }  # fmt: skip


def every(seconds: float) -> str:
    """Show an interval as it is written: 90m, 12h, 7d."""
    for size, unit in ((86400, "d"), (3600, "h")):
        if seconds % size == 0:
            return f"every {seconds / size:g}{unit}"
    return f"every {seconds / 60:g}m"


def brief(one: Run) -> dict[str, Any]:
    """Return a run without its outcome, which may be long."""
    found = asdict(one)
    del found["outcome"], found["timing"]
    return {**found, "summary": summary(one), "pictures": pictures(one), "verdict": passed(one)}


def whole(one: Run) -> dict[str, Any]:
    """Return a run with its outcome."""
    return {**brief(one), "outcome": one.outcome}


def passed(one: Run) -> bool | None:
    """Return what the gate said of the candidate; None where nothing was judged."""
    verdict = (one.outcome or {}).get("verdict")
    return None if verdict is None else bool(verdict["passed"])


def pictures(one: Run) -> list[str]:
    """Return the names of a run's pictures: those that its outcome names, and no other file."""
    return [str(name) for name in (one.outcome or {}).get("pictures", [])]


def summary(one: Run) -> str:
    """Say in a line what a run has found."""
    found = one.outcome or {}
    if one.kind is RunKind.BACKUP and found:
        return f"{found['file']}, {found['size_bytes'] / 1e6:.1f} MB, {found['rows']} rows, sound"
    if one.kind is RunKind.CHECK and found:
        return f"sound; {found['objects']} objects are there, {found['hashed']} of them read"
    if one.kind is RunKind.EVALUATE and found:
        figures = found["figures"]
        auc = figures["macro_auc"]
        told = (
            "macro AUC not measured" if auc is None
            else f"macro AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
        )  # fmt: skip
        return f"{told} on {figures['images']} images of {figures['patients']} patients"
    if one.kind is RunKind.DRIFT and found:
        drifted = [station["station"] for station in found["stations"] if station["drifted"]]
        told = f"drift at {', '.join(drifted)}" if drifted else "no drift"
        return f"{told}; {len(found['stations'])} stations, {found['alarms']} alarms open"
    if one.kind is RunKind.CANARY and found:
        told = "; ".join(f"{name}: {how}" for name, how in found["pacs"].items())
        return f"came through in {found['took_s']:.1f} s, scored as known; {told}"
    if found.get("verdict") is not None:
        told = "passed the gate" if passed(one) else "refused by the gate"
        return f"{found['bundle']}: {told}"
    return ""


def verdict_of(database: Database, digest: str) -> dict[str, Any] | None:
    """Return the gate's verdict on a bundle with the run that has it; None where none was made."""
    one = Runs(database).that_made(digest)
    if one is None:
        return None
    verdict = (one.outcome or {}).get("verdict")
    return {"run": one.id, "state": one.state, "verdict": verdict, "pictures": pictures(one)}
