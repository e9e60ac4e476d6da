"""A text of headings, paragraphs and tables as markdown, and as HTML that stands alone."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the card: a heading, a paragraph, a list, a table or a picture."""

    kind: str
    text: str = ""
    items: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def as_markdown(blocks: Iterable[Block]) -> str:
    """The card as markdown; pictures are files beside it."""

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("\n", " ")

    def table(rows: Sequence[Sequence[str]]) -> str:
        lines = ["| " + " | ".join(cell(text) for text in row) + " |" for row in rows]
        return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])

    write: dict[str, Callable[[Block], str]] = {
        "title": lambda b: f"# {b.text}",
        "heading": lambda b: f"## {b.text}",
        "subheading": lambda b: f"### {b.text}",
        "text": lambda b: b.text,
        "strong": lambda b: f"**{b.text}**",
        "list": lambda b: "\n".join(f"- {item}" for item in b.items),
        "table": lambda b: table(b.rows),
        "picture": lambda b: f"![{b.text}]({b.items[0]})",
    }
    return "\n\n".join(write[block.kind](block) for block in blocks) + "\n"


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b2a35; max-width: 78rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #d5dce2; }
table { border-collapse: collapse; font-size: 13px; margin: .8rem 0; display: block;
  overflow-x: auto; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #e4e9ed;
  font-variant-numeric: tabular-nums; vertical-align: top; }
img { max-width: 100%; height: auto; } figure { margin: 1.2rem 0; } figcaption { color: #55636e; }
.strong { background: #fff4e5; border-left: 4px solid #d55e00; padding: .5rem .8rem; }
"""


def as_html(blocks: Iterable[Block], drawn: Mapping[str, bytes], title: str) -> str:
    """The card as one HTML file with its pictures in it; it loads nothing."""
    esc = html.escape

    def table(rows: Sequence[Sequence[str]]) -> str:
        head = "".join(f"<th>{esc(text)}</th>" for text in rows[0])
        body = "".join(
            "<tr>" + "".join(f"<td>{esc(text)}</td>" for text in row) + "</tr>" for row in rows[1:]
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def picture(block: Block) -> str:
        data = base64.b64encode(drawn[block.items[0].removesuffix(".png")]).decode()
        return (
            f'<figure><img alt="{esc(block.text)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{esc(block.text)}</figcaption></figure>"
        )

    write: dict[str, Callable[[Block], str]] = {
        "title": lambda b: f"<h1>{esc(b.text)}</h1>",
        "heading": lambda b: f"<h2>{esc(b.text)}</h2>",
        "subheading": lambda b: f"<h3>{esc(b.text)}</h3>",
        "text": lambda b: f"<p>{esc(b.text)}</p>",
        "strong": lambda b: f'<p class="strong"><strong>{esc(b.text)}</strong></p>',
        "list": lambda b: "<ul>" + "".join(f"<li>{esc(item)}</li>" for item in b.items) + "</ul>",
        "table": lambda b: table(b.rows),
        "picture": picture,
    }
    body = "\n".join(write[block.kind](block) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>Model card: {esc(title)}</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )
