"""The parts of the documents that are made from the code, so that they cannot drift.

`python -m docs.generate` rewrites what stands between the markers of each part.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from classifier.bundle import Interval, load_bundle
from daemon import admission, contexts, delivery, listener
from daemon.settings import DicomSettings, Settings
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

ROOT = Path(__file__).parents[1]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a markdown table."""
    head = list(head)
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def render(text: str, parts: dict[str, Callable[[], str]]) -> str:
    """Return the text with every part made anew between its markers.

    Raises ValueError where a part's markers do not stand in the text exactly once.
    """
    for name, make in parts.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        made = make().replace("\\", r"\\")
        text, count = pattern.subn(rf"\g<1>{made}\n\g<2>", text)
        if count != 1:
            raise ValueError(f"the markers of {name} must stand in the text once, found {count}")
    return text


def settings() -> str:
    """Return a table of every key of the configuration file."""
    return table(("key", "default", "what it is"), _keys())


def _keys() -> Iterator[tuple[str, str, str]]:
    for section, field in Settings.model_fields.items():
        repeated = section == "pacs"
        model: type[BaseModel] = (
            field.annotation.__args__[0] if repeated else field.annotation  # type: ignore[union-attr,assignment]
        )
        for key, item in model.model_fields.items():
            name = f"`{'[[pacs]]' if repeated else section}.{key}`".replace(
                "[[pacs]].", "[[pacs]] "
            )
            yield name, _default(item.default), str(item.description)


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f'"{one}"' for one in value) + "]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f'`"{value}"`' if isinstance(value, str | Path) else f"`{value}`"


def metrics() -> str:
    """Return the default bundle's figures as its manifest states them."""
    measured = load_bundle("default").manifest.metrics
    rows = [
        (name.replace("_", " "), one.positives, _interval(one.auc), f"{one.ece:.3f}")
        for name, one in measured.findings.items()
    ]
    rows.append(("macro", "", _interval(measured.macro_auc), ""))
    drawn = table(("finding", "positives", "AUC (95 % interval)", "ECE"), rows)
    return f"{drawn}\n\n{measured.images} images of {measured.patients} patients."


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _sop_classes() -> str:
    rows = [
        ("Verification", contexts.VERIFICATION, "answered"),
        *((name, uid, "classified") for uid, name in contexts.IMAGES.items()),
        *((name, uid, "acknowledged and ignored") for uid, name in contexts.IGNORED.items()),
    ]
    return table(("SOP class", "UID", "what is done with it"), rows)


def _transfer_syntaxes() -> str:
    rows = (
        (name, uid, "all" if uid in contexts.UNCOMPRESSED else "images alone")
        for uid, name in contexts.TRANSFER_SYNTAXES.items()
    )
    return table(("transfer syntax", "UID", "SOP classes"), rows)


def _store_statuses() -> str:
    rows = ((f"{code:04X}H", text) for code, text in listener.STATUS_CODES.items())
    return table(("status", "meaning"), rows)


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
    return table(
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
    return table(("result", "source", "diagnostic", "reason"), rows)


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
    return table(("what", "value"), rows)


CONFORMANCE: dict[str, Callable[[], str]] = {
    "sop-classes": _sop_classes,
    "transfer-syntaxes": _transfer_syntaxes,
    "store-statuses": _store_statuses,
    "sent-statuses": _sent_statuses,
    "rejections": _rejections,
    "limits": _limits,
}


def documents() -> dict[Path, dict[str, Callable[[], str]]]:
    """Return each document with its parts."""
    return {
        ROOT / "README.md": {"metrics": metrics},
        ROOT / "docs" / "operating-guide.md": {"settings": settings},
        ROOT / "docs" / "conformance-statement.md": CONFORMANCE,
    }


def main() -> int:
    """Rewrite every document."""
    for file, parts in documents().items():
        file.write_text(render(file.read_text(), parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
