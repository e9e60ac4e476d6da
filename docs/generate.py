"""The parts of the documents that are made from the code, so that they cannot drift.

`python -m docs.generate` rewrites what stands between the markers of each part.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from classifier.bundle import Interval, load_bundle
from daemon.settings import Settings
from docs import reliability
from docs.conformance import PARTS
from docs.supply import licences
from docs.tables import table

ROOT = Path(__file__).parents[1]


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
        prefix = f"[[{section}]] " if section == "pacs" else f"{section}."
        for model in _models(field.annotation):
            yield from _keys_of(model, prefix)


def _keys_of(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for key, item in model.model_fields.items():
        inner = _models(item.annotation)
        for one in inner:
            yield from _keys_of(one, f"{prefix}{key}.")
        if not inner:
            yield f"`{prefix}{key}`", _default(item.default), str(item.description)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a field holds: itself, one of a tuple, or one that may be absent."""
    parts = getattr(annotation, "__args__", ()) or (annotation,)
    return [one for one in parts if isinstance(one, type) and issubclass(one, BaseModel)]


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


def bench(part: Literal["figures", "layers"]) -> str:
    """Return what `make figures` measured last, or that nothing was."""
    file = ROOT / "docs" / "bench.json"
    if not file.exists():
        return "Not measured yet: `make figures` on a quiet machine."
    found = json.loads(file.read_text())
    if part == "layers":
        return table(("layer", "kernel", "ms", "GMAC", "of the peak"), found["layers"])
    host = found["machine"]
    rows = [(one["name"], f"{one['value']:.3g}", one["unit"], *_aim(one))
            for one in found["figures"]]  # fmt: skip
    drawn = table(("figure", "value", "unit", "target", "met"), rows)
    return f"{host['processor']}, {host['cores']} cores, load {host['load_before']:.1f}.\n\n{drawn}"


def _aim(figure: dict[str, Any]) -> tuple[str, str]:
    if figure["target"] is None:
        return "", ""
    sign = "at least" if figure["higher_is_better"] else "at most"
    return f"{sign} {figure['target']:g}", "yes" if figure["meets"] else "**no**"


def documents() -> dict[Path, dict[str, Callable[[], str]]]:
    """Return each document with its parts."""
    return {
        ROOT / "README.md": {"metrics": metrics},
        ROOT / "docs" / "operating-guide.md": {"settings": settings},
        ROOT / "docs" / "conformance-statement.md": PARTS,
        ROOT / "docs" / "licences.md": {"licences": licences},
        ROOT / "docs" / "performance.md": {
            part: partial(bench, part) for part in ("figures", "layers")
        },
        ROOT / "docs" / "reliability.md": {
            "faults": reliability.faults,
            "memory": reliability.memory,
        },
    }


def main() -> int:
    """Rewrite every document."""
    for file, parts in documents().items():
        file.write_text(render(file.read_text(), parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
