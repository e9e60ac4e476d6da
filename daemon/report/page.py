"""Lines of text as a picture, for a PACS that takes images alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_WIDTH, _MARGIN = 1024, 32
_STYLES = {  # size in pixels, space above, grey
    "title": (30, 0, 255),
    "head": (25, 24, 255),
    "text": (22, 6, 235),
    "quiet": (18, 6, 165),
}
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_page(lines: Sequence[tuple[str, str]]) -> NDArray[np.uint8]:
    """Return (rows, 1024, 3), light on black, as long as the text; lines as (style, words)."""
    fonts = {style: ImageFont.load_default(size) for style, (size, _, _) in _STYLES.items()}
    placed: list[tuple[int, str, str]] = []
    below = _MARGIN
    for style, words in lines:
        size, space, _ = _STYLES[style]
        below += space
        for line in _wrapped(words, fonts[style]):
            placed.append((below, style, line))
            below += round(size * 1.3)
    canvas = Image.new("RGB", (_WIDTH, below + _MARGIN))
    pen = ImageDraw.Draw(canvas)
    for top, style, line in placed:
        grey = _STYLES[style][2]
        pen.text((_MARGIN, top), line, fill=(grey, grey, grey), font=fonts[style])
    return np.asarray(canvas)


def _wrapped(words: str, font: _Font) -> Iterator[str]:
    line = ""
    for word in words.split():
        longer = f"{line} {word}".strip()
        if line and font.getlength(longer) > _WIDTH - 2 * _MARGIN:
            yield line
            line = word
        else:
            line = longer
    yield line
