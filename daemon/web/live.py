"""A page with a part that is asked for again by itself, and with acts that may be refused.

Its templates are ``<name>.html`` and ``<name>_live.html``, its path is ``/<name>``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from daemon.web.context import Site
from daemon.web.told import go_on
from storage.errors import Refused


@dataclass(frozen=True)
class LivePage:
    """The page of a name; `found` gives what both its templates show."""

    name: str
    found: Callable[[Site], dict[str, Any]]

    def whole(self, request: Request, here: Site, problem: str = "") -> Response:
        """Answer with the page, and with what was refused."""
        context = {**self.found(here), "problem": problem}
        status = 409 if problem else 200
        return here.templates.TemplateResponse(
            request, f"{self.name}.html", context, status_code=status
        )

    def part(self, request: Request, here: Site) -> Response:
        """Answer with the part that changes by itself."""
        return here.templates.TemplateResponse(request, f"{self.name}_live.html", self.found(here))

    def act(self, request: Request, here: Site, act: Callable[[], object], done: str) -> Response:
        """Act, then show the page: with what was done, or with why it was refused."""
        try:
            act()
        except Refused as error:
            return self.whole(request, here, str(error))
        return go_on(request, f"/{self.name}", done)
