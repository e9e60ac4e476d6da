"""DICOMweb (PS3.18): studies searched (QIDO-RS) and retrieved (WADO-RS), for the viewer and for
other systems. What came is given as it came: nothing is transcoded, and no dataset is parsed."""

from __future__ import annotations

from fastapi import APIRouter

from daemon.web.dicomweb import retrieve, search

__all__ = ["router"]

router = APIRouter()
router.routes += [*search.router.routes, *retrieve.router.routes]
