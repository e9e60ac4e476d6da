"""A listener in the test's own process, over a real storage and real TCP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from daemon import contexts
from daemon.commitment import Receiver
from daemon.listener import Listener
from daemon.settings import Settings
from storage.database import open_database
from storage.objects import ObjectStore
from storage.queue import Queue
from tests import databases


class Bench:
    """A listener in this process, over a real storage."""

    def __init__(
        self,
        root: Path,
        listener: type[Listener] = Listener,
        receiver: Receiver | None = None,
        **dicom: object,
    ) -> None:
        self.settings = Settings(dicom={"bind": "127.0.0.1", "port": 0, **dicom})
        self.database = open_database(databases.url(root / "hilum.sqlite"))
        self.database.migrate(root / "backups")
        self.objects = ObjectStore(root)
        self.queue = Queue(self.database)
        self.listener = listener(self.settings, self.objects, lambda: self.queue, receiver=receiver)
        self.port = self.listener.start()

    def close(self) -> None:
        self.listener.stop(1.0)
        self.database.close()

    def associate(
        self,
        sop_class: str = contexts.COMPUTED_RADIOGRAPHY,
        syntaxes: Sequence[str] | None = None,
        **titles: str,
    ) -> Association:
        entity = AE(ae_title=titles.get("calling", "CR1"))
        context = build_context(sop_class, syntaxes or [ExplicitVRLittleEndian])
        return entity.associate(
            "127.0.0.1",
            self.port,
            contexts=[context, build_context(contexts.VERIFICATION)],
            ae_title=titles.get("called", "HILUM"),
        )
