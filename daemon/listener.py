"""The DICOM listener: a C-STORE is answered 0000H only when the image is durable.

The order of events is the promise of the service::

    admission -> UID -> file (fsync) -> row and job (COMMIT) -> 0000H

Nothing here reads a dataset; its bytes go to the disk as they came.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

import structlog
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, _config, evt
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dsutils import encode_file_meta
from pynetdicom.events import Event as DicomEvent
from pynetdicom.transport import ThreadedAssociationServer

from daemon import admission, contexts, logs, process, transport
from daemon.commitment import Receiver
from daemon.errors import CannotListen
from daemon.events import Event
from daemon.settings import Settings
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from storage.errors import OutOfSpace, StorageError, SyncFailed
from storage.objects import ObjectStore
from storage.records import Acceptance, Arrival

if TYPE_CHECKING:
    from storage.commitments import Commitments
    from storage.queue import Queue

# PS3.4 annex B.2.3 and PS3.7 annex C: the statuses that we answer a C-STORE with.
SUCCESS = 0x0000
INVALID_SOP_INSTANCE = 0x0117
SOP_CLASS_NOT_SUPPORTED = 0x0122
OUT_OF_RESOURCES = 0xA700
SOP_CLASS_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
PROCESSING_FAILURE = 0x0110

STATUS_CODES = {
    SUCCESS: "Success: the object is durable, or is of a kind that is taken and ignored",
    INVALID_SOP_INSTANCE: "Refused: the SOP Instance UID is not a UID",
    OUT_OF_RESOURCES: "Refused: out of space, or the database is busy; try again later",
    SOP_CLASS_MISMATCH: "Error: the SOP class is not that of the presentation context",
    CANNOT_UNDERSTAND: "Error: there is no data set",
    PROCESSING_FAILURE: "Error: an unforeseen fault; the object was not taken",
}

_UID = re.compile(r"[0-9.]{1,64}")
_NO_UID = "0"
_ACCEPTANCE_EVENTS = {
    Acceptance.NEW: Event.INSTANCE_ACCEPTED,
    Acceptance.REPEATED: Event.INSTANCE_REPEATED,
    Acceptance.CONFLICT: Event.INSTANCE_CONFLICT,
}


class Listener:
    """The storage and verification SCP."""

    def __init__(
        self,
        settings: Settings,
        objects: ObjectStore,
        queue: Callable[[], Queue],
        bells: process.Bells | None = None,
        receiver: Receiver | None = None,
    ) -> None:
        self._settings = settings.dicom
        self._receiver = receiver
        self._objects = objects
        self._queue = queue
        self._bells = bells or process.Bells()
        self._log = logs.get()
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> int:
        """Open the port; return its number. Raises CannotListen."""
        # A UID that is none would end the association; we answer it with a status of its own
        _config.ENFORCE_UID_CONFORMANCE = False
        _config.VALIDATORS["UI"] = lambda _: (True, "")
        _config.UNRESTRICTED_STORAGE_SERVICE = False
        _config.LOG_HANDLER_LEVEL = "none"
        entity = AE(ae_title=self._settings.ae_title)
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
        entity.maximum_pdu_size = self._settings.max_pdu_bytes
        # judge() counts first, so that an excess is told apart in the log
        entity.maximum_associations = self._settings.max_associations + 1000
        entity.network_timeout = self._settings.idle_timeout_s
        entity.dimse_timeout = self._settings.idle_timeout_s
        entity.acse_timeout = 10
        entity.supported_contexts = contexts.accepted()
        # An A-ASSOCIATE-RQ knows no limit, and a sender may take ours for less than the whole PDU
        largest = max(1 << 20, 2 * self._settings.max_pdu_bytes)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, transport.bound, [largest, self._settings.idle_timeout_s]),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_RELEASED, self._ended, ["released"]),
            (evt.EVT_ABORTED, self._ended, ["aborted"]),
            (evt.EVT_DIMSE_RECV, _name_the_nameless),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_C_STORE, self._store),
            *(self._receiver.offer(entity) if self._receiver else []),
        ]
        address = (self._settings.bind, self._settings.port)
        try:
            server = entity.start_server(address, block=False, evt_handlers=handlers)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {address[0]} port {address[1]}: {error.strerror}"
            ) from None
        assert server is not None
        self._server = server
        return int(server.server_address[1])

    def stop(self, drain_s: float) -> None:
        """Close the port, let the open associations end for so long, then abort the rest."""
        if self._server is None:
            return
        self._server.shutdown()
        deadline = time.monotonic() + drain_s
        while self._server.active_associations and time.monotonic() < deadline:
            time.sleep(0.02)
        for association in self._server.active_associations:
            association.abort()

    def _requested(self, event: DicomEvent) -> None:
        requestor = event.assoc.requestor
        assert self._server is not None
        rejection = admission.judge(
            self._settings,
            calling_ae=requestor.primitive.calling_ae_title,
            called_ae=requestor.primitive.called_ae_title,
            address=requestor.address,
            open_now=len(self._server.active_associations),
        )
        if rejection is None:
            return
        event.assoc.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        self._bound(event).warning(Event.ASSOCIATION_REJECTED, reason=rejection.reason)
        event.assoc.kill()

    def _accepted(self, event: DicomEvent) -> None:
        log = self._bound(event)
        log.info(Event.ASSOCIATION_ACCEPTED)
        refused = [
            {
                "sop_class": str(context.abstract_syntax),
                "transfer_syntaxes": [str(uid) for uid in context.transfer_syntax],
            }
            for context in event.assoc.rejected_contexts
        ]
        if refused:
            log.warning(Event.CONTEXTS_REFUSED, refused=refused[:8], count=len(refused))

    def _ended(self, event: DicomEvent, how: str) -> None:
        self._bound(event).info(Event.ASSOCIATION_ENDED, how=how)

    def _bound(self, event: DicomEvent) -> structlog.typing.FilteringBoundLogger:
        requestor = event.assoc.requestor
        return self._log.bind(
            calling_ae=str(requestor.primitive.calling_ae_title).strip(), peer=requestor.address
        )

    def _store(self, event: DicomEvent) -> int:
        log = self._bound(event)
        try:
            return self._take(event, log)
        except OutOfSpace as error:
            log.error(Event.INSTANCE_REFUSED, status="A700", reason=str(error))
            return OUT_OF_RESOURCES
        except SyncFailed:
            # What the disk holds now is unknown, and a second fsync would say "done" of pages
            # that the kernel has dropped: no answer, no further write, a new process.
            log.critical(Event.FAULT, reason="fsync failed")
            os._exit(process.EXIT_FAULT)
        except StorageError as error:
            log.error(Event.INSTANCE_REFUSED, status="A700", **logs.whereabouts(error))
            return OUT_OF_RESOURCES
        except Exception as error:  # noqa: BLE001 - one instance must not end the association
            log.error(Event.INSTANCE_REFUSED, status="0110", **logs.whereabouts(error))
            return PROCESSING_FAILURE

    def _take(self, event: DicomEvent, log: structlog.typing.FilteringBoundLogger) -> int:
        request = event.request
        uid = str(request.AffectedSOPInstanceUID or "")
        sop_class = str(request.AffectedSOPClassUID or "")
        if not _UID.fullmatch(uid) or uid == _NO_UID:
            log.warning(Event.INSTANCE_REFUSED, status="0117", reason="the UID is not a UID")
            return INVALID_SOP_INSTANCE
        if sop_class != event.context.abstract_syntax:
            log.warning(
                Event.INSTANCE_REFUSED, sop_instance=uid, status="A900", sop_class=sop_class
            )
            return SOP_CLASS_MISMATCH
        if sop_class in contexts.IGNORED:
            log.info(Event.INSTANCE_IGNORED, sop_instance=uid, sop_class=sop_class)
            return SUCCESS
        if request.DataSet is None:
            log.warning(Event.INSTANCE_REFUSED, sop_instance=uid, status="C000")
            return CANNOT_UNDERSTAND
        dataset = request.DataSet.getvalue()
        transfer_syntax = str(event.context.transfer_syntax)
        stored = self._objects.put(_file_header(sop_class, uid, transfer_syntax), dataset)
        acceptance = self._queue().accept(
            Arrival(
                sop_instance_uid=uid,
                sop_class_uid=sop_class,
                transfer_syntax_uid=transfer_syntax,
                sha256=stored.sha256,
                size_bytes=stored.size_bytes,
                calling_ae=str(event.assoc.requestor.primitive.calling_ae_title).strip(),
                called_ae=self._settings.ae_title,
                peer_address=str(event.assoc.requestor.address),
                received_at=time.time(),
            )
        )
        if acceptance is Acceptance.NEW:
            self._bells.ring("worker")
        log.info(
            _ACCEPTANCE_EVENTS[acceptance],
            sop_instance=uid, sha256=stored.sha256, size_bytes=stored.size_bytes,
            transfer_syntax=transfer_syntax,
        )  # fmt: skip
        return SUCCESS


def _name_the_nameless(event: DicomEvent) -> None:
    """Give a C-STORE without a SOP Instance UID one that is refused.

    pynetdicom drops such a request, and the peer would wait for its time-out.
    """
    command = event.message.command_set
    if isinstance(event.message, C_STORE_RQ) and not command.get("AffectedSOPInstanceUID"):
        command.AffectedSOPInstanceUID = _NO_UID


def _file_header(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Return preamble, prefix and file meta information (PS3.10 section 7.1).

    They are the same for the same object whoever sends it, so that a repeated sending has
    the same hash. The preamble is zeros: a sender's could hide another type of file.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    return b"".join((bytes(128), b"DICM", encode_file_meta(meta)))


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Listen until told to stop; return the exit status."""
    del owner
    log = logs.get()
    objects = ObjectStore(settings.storage.root, settings.storage.reserve_bytes)
    queue: Future[Queue] = Future()
    commitments: Future[Commitments] = Future()
    listener = Listener(settings, objects, queue.result, bells, Receiver(commitments.result))
    try:
        port = listener.start()
    except CannotListen as error:
        log.critical(Event.FAULT, reason=str(error))
        return process.EXIT_FAULT
    if "*@*" in settings.dicom.allowed_callers:
        log.warning(Event.LISTENER_OPEN_TO_ALL, setting="dicom.allowed_callers")
    log.info(
        Event.LISTENER_LISTENING,
        ae_title=settings.dicom.ae_title, bind=settings.dicom.bind, port=port,
    )  # fmt: skip
    # Slow to import: who has an association by now waits with the first image
    from storage.commitments import Commitments
    from storage.database import open_database
    from storage.queue import Queue

    database = open_database(settings.storage.url)
    queue.set_result(Queue(database))
    commitments.set_result(Commitments(database))
    while not stop.wait(3600):
        pass
    listener.stop(process.DRAIN_S)
    database.close()
    return 0
