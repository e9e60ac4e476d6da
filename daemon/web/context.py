"""What every route has at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.templating import Jinja2Templates

from daemon.process import Bells
from daemon.settings import Settings
from storage.database import Database
from storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Site:
    """The service that the pages belong to; `bells` rings the worker and the delivery."""

    settings: Settings
    database: Database
    objects: ObjectStore
    templates: Jinja2Templates
    bells: Bells = field(default_factory=Bells)
    clock: Callable[[], float] = time.time


def site(request: Request) -> Site:
    """The site of a request."""
    return cast("Site", request.app.state.site)


Here = Annotated[Site, Depends(site)]
"""The site, as a route's parameter."""
