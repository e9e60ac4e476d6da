"""The report of an acceptance test as one HTML file, to be printed and signed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "web" / "templates"


def render(figures: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """Return the file; `pictures` are PNGs in base64. It refers to nothing outside of itself."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["when"] = _when
    environment.filters["interval"] = interval
    template = environment.get_template("acceptance_report.html")
    return template.render(report=figures, pictures=pictures)


def interval(value: Mapping[str, float] | None) -> str:
    """Return a figure with its interval, in words."""
    if value is None:
        return "none"
    share, low, high = (f"{value[name]:.2f}" for name in ("value", "low", "high"))
    return f"{share} ({low} to {high})".replace("-0.00", "0.00")


def _when(timestamp: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(timestamp))
