"""The pages for radiologists and administrators, the API, and DICOMweb: one process of the service.

Nothing here imports machine learning, and nothing parses a DICOM object: what the pages say of an
image, the worker has written down when it read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from daemon import process
    from daemon.settings import Settings


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Serve the pages until told to stop; return the exit status."""
    from daemon.web import server  # slow to import, and needed in this process alone

    return server.serve(settings, stop, owner, bells)
