"""The documents say what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon import commitment, contexts, statuses
from daemon.events import Event
from docs import generate
from storage.records import DeliveryState

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("file", list(generate.documents()), ids=lambda file: file.name)
def test_the_parts_made_from_the_code_are_current(file: Path) -> None:
    text = file.read_text()
    assert generate.render(text, generate.documents()[file]) == text, "run: python -m docs.generate"


def test_every_class_and_syntax_is_in_the_conformance_statement() -> None:
    text = (DOCS / "conformance-statement.md").read_text()
    for uid in [*contexts.IMAGES, *contexts.IGNORED, *contexts.TRANSFER_SYNTAXES]:
        assert uid in text


def test_the_conformance_statement_has_the_order_of_annex_n() -> None:
    text = (DOCS / "conformance-statement.md").read_text()
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    numbered = [heading.split(". ", 1)[1] for heading in headings if heading[0].isdigit()]
    assert numbered == [
        "Overview", "Table of contents", "Introduction", "Implementation model", "Services",
        "Configuration", "Network communication details", "Security",
    ]  # fmt: skip
    assert [heading for heading in headings if heading.startswith("Annex")] == headings[8:]
    contents = text[text.index("## 2.") : text.index("## 3.")]
    for heading in headings:
        assert heading in contents, heading


def test_every_form_and_status_is_in_the_conformance_statement() -> None:
    text = (DOCS / "conformance-statement.md").read_text()
    proposed = text[text.index("<!-- proposed -->") : text.index("<!-- end proposed -->")]
    for uid in [*contexts.REPORT_FORMS, *contexts.HEAT_MAPS.values(), *contexts.SENT_IN]:
        assert uid in proposed
    for status in [*statuses.STATUS_CODES, *commitment.STATUS_CODES]:
        assert f"{status:04X}H" in text


def test_every_state_of_a_delivery_is_in_the_guide() -> None:
    text = (DOCS / "operating-guide.md").read_text()
    for state in DeliveryState:
        assert f"| {state} |" in text, state


def test_the_guide_names_only_events_that_exist() -> None:
    text = (DOCS / "operating-guide.md").read_text()
    section = text[text.index("## The log") : text.index("## Backup")]
    named = {word for line in section.splitlines() if line.startswith("| `")
             for word in line.split("|")[1].replace("`", "").replace(",", " ").split()}  # fmt: skip
    assert named
    assert named <= {str(event) for event in Event}


def test_every_command_is_in_the_guide_or_the_readme() -> None:
    from daemon.cli import app

    text = (DOCS / "operating-guide.md").read_text() + (DOCS.parent / "README.md").read_text()
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    for name in [*names, "queue list"]:
        assert f"hilum {name}" in text or f"`{name}" in text, name
