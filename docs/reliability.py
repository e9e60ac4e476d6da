"""The table of faults for the document on reliability, from what `make soak` saw last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from docs.tables import table

FILE = Path(__file__).parent / "soak.json"


def faults() -> str:
    """Return what `make reliability` saw last, or that nothing was."""
    if not FILE.exists():
        return "Not run yet: `make reliability` on a quiet machine."
    return faults_table(json.loads(FILE.read_text()))


def memory() -> str:
    """Return the picture of the longest test, where there is one."""
    if not (FILE.parent / "pictures" / "soak.svg").exists():
        return "Not run yet: `make reliability` on a quiet machine."
    return (
        "![Memory and file descriptors of the listener over 20,000 connections](pictures/soak.svg)"
    )


def faults_table(found: dict[str, Any]) -> str:
    """Return the machine, the date and a row for each fault, in markdown."""
    host = found["machine"]
    rows = [(one["fault"], _links(one["tests"]), one["wanted"], _seen(one))
            for one in found["faults"]]  # fmt: skip
    drawn = table(("fault", "made to happen in", "wanted", "seen"), rows)
    size = f"{host['cores']} cores, {host['memory_gib']} GiB"
    return f"{found['date']}, {host['processor']}, {size}.\n\n{drawn}"


def _links(tests: list[str]) -> str:
    return "<br>".join(f"[{Path(one).name}](../{one})" for one in tests)


def _seen(one: dict[str, Any]) -> str:
    if one["failed"]:
        return f"**{one['failed']} of {one['passed'] + one['failed']} tests failed**"
    if not one["passed"]:
        return "**not run**"
    ran = f"{one['passed']} test{'s' if one['passed'] > 1 else ''} passed"
    if one["figure"] is None:
        return ran
    return f"{one['figure']['seen']} ({one['figure']['tried']:,} tried; {ran})"
