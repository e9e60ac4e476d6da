"""A run's pictures."""

from __future__ import annotations

from fastapi.responses import Response

from daemon.scheduled import pictures
from daemon.web.context import Site
from storage.errors import NotFound
from storage.runs import Runs


def picture(here: Site, number: int, name: str) -> Response:
    """Return a picture that the run's outcome names, and no other file. Raises NotFound."""
    one = Runs(here.database).show(number)
    file = here.settings.storage.root / "runs" / str(one.id) / name
    if name not in pictures(one) or "/" in name or not file.is_file():
        raise NotFound(f"Run {number} has no picture {name[:64]}.")
    return Response(file.read_bytes(), media_type="image/png")
