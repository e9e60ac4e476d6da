"""The tables of the conformance statement, made from the code so that they cannot drift.

`python -m daemon.conformance FILE` rewrites what stands between the markers of each table.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from daemon import admission, contexts, delivery, listener
from daemon.settings import DicomSettings
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def _table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _sop_classes() -> str:
    rows = [
        ("Verification", contexts.VERIFICATION, "answered"),
        *((name, uid, "classified") for uid, name in contexts.IMAGES.items()),
        *((name, uid, "acknowledged and ignored") for uid, name in contexts.IGNORED.items()),
    ]
    return _table(("SOP class", "UID", "what is done with it"), rows)


def _transfer_syntaxes() -> str:
    rows = (
        (name, uid, "all" if uid in contexts.UNCOMPRESSED else "images alone")
        for uid, name in contexts.TRANSFER_SYNTAXES.items()
    )
    return _table(("transfer syntax", "UID", "SOP classes"), rows)


def _store_statuses() -> str:
    rows = ((f"{code:04X}H", text) for code, text in listener.STATUS_CODES.items())
    return _table(("status", "meaning"), rows)


def _sent_statuses() -> str:
    said = {
        delivery.Answer.STORED: "stored: done",
        delivery.Answer.LATER: "tried again, for ever",
        delivery.Answer.DEAD: "dead letter: an administrator decides",
    }
    shown = {
        "0000H": 0x0000, "Bxxx": 0xB000, "A7xx": 0xA700, "A9xx": 0xA900, "Cxxx": 0xC000,
        "0122H": 0x0122, "any other": 0x0110, "no answer": None,
    }  # fmt: skip
    return _table(
        ("answer of the PACS", "what is done"),
        ((name, said[delivery.meaning(code)]) for name, code in shown.items()),
    )


def _rejections() -> str:
    rejections = (
        admission.LIMIT_EXCEEDED,
        admission.CALLED_AE_UNKNOWN,
        admission.CALLING_AE_UNKNOWN,
    )
    rows = ((r.result, r.source, r.diagnostic, r.reason) for r in rejections)
    return _table(("result", "source", "diagnostic", "reason"), rows)


def _limits() -> str:
    defaults = DicomSettings()
    rows = [
        ("implementation class UID", IMPLEMENTATION_CLASS_UID),
        ("implementation version name", IMPLEMENTATION_VERSION_NAME),
        ("largest PDU received (default)", f"{defaults.max_pdu_bytes} bytes"),
        ("associations at a time (default)", defaults.max_associations),
        ("idle time-out of an association (default)", f"{defaults.idle_timeout_s:.0f} s"),
        ("asynchronous operations", "not supported"),
        ("reports on one association, as SCU", delivery.BATCH),
    ]
    return _table(("what", "value"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "sop-classes": _sop_classes,
    "transfer-syntaxes": _transfer_syntaxes,
    "store-statuses": _store_statuses,
    "sent-statuses": _sent_statuses,
    "rejections": _rejections,
    "limits": _limits,
}


def render(text: str) -> str:
    """Return the statement with every table made anew."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text, count = pattern.subn(rf"\g<1>{table()}\n\g<2>", text)
        if count != 1:
            raise ValueError(f"the statement needs the markers of {name} once, found {count}")
    return text


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(render(file.read_text()))
