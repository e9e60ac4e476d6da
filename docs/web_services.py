"""The tables of the conformance statement's web services, made from the code."""

from __future__ import annotations

from fastapi.routing import APIRoute

from daemon.web.dicomweb import media, model, router, search
from docs.tables import table


def transactions() -> str:
    """Every address, and what it does."""
    rows = [
        (f"`GET {route.path}`", (route.endpoint.__doc__ or "").strip().splitlines()[0])
        for route in router.routes
        if isinstance(route, APIRoute)
    ]
    return table(("request", "what it does"), sorted(rows))


def keys() -> str:
    """The matching keys of each search."""
    fields = model.STUDY_FIELDS | model.SERIES_FIELDS | model.INSTANCE_FIELDS
    tags = {keyword: tag for keyword, (tag, _, _) in fields.items()}
    tags |= {"StudyInstanceUID": "0020000D", "ModalitiesInStudy": "00080061"}
    known = {"studies": search.STUDY_KEYS, "series": search.SERIES_KEYS}
    known["instances"] = search.INSTANCE_KEYS
    rows = [
        (
            keyword,
            f"({tag[:4]},{tag[4:]})",
            ", ".join(n for n, of in known.items() if keyword in of),
        )
        for keyword, tag in sorted(tags.items(), key=lambda one: one[1])
    ]
    return table(("key", "tag", "search for"), rows)


def frames() -> str:
    """The media type of frames for each transfer syntax."""
    return table(("transfer syntax", "media type of a frame"), media.FRAME_TYPES.items())
