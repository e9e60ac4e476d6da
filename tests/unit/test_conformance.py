"""The conformance statement says what the code does."""

from __future__ import annotations

from pathlib import Path

from daemon import conformance, contexts

STATEMENT = Path(__file__).parents[2] / "docs" / "conformance-statement.md"


def test_the_tables_are_those_of_the_code() -> None:
    text = STATEMENT.read_text()
    assert conformance.render(text) == text, "run: python -m daemon.conformance " + STATEMENT.name


def test_every_class_and_syntax_is_in_it() -> None:
    text = STATEMENT.read_text()
    for uid in [*contexts.IMAGES, *contexts.IGNORED, *contexts.TRANSFER_SYNTAXES]:
        assert uid in text
