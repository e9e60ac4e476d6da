"""The DICOM listener: a C-STORE is answered 0000H only when the image is durable.

The order of events is the promise of the service; docs/reliability.md numbers it::

    1 admission -> 2 UID -> 3 file (fsync) -> 4 row and job (COMMIT) -> 5 0000H

Nothing here reads a dataset; its bytes go to the disk as they came.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING

import structlog
from pynetdicom import AE, _config, evt
from pynetdicom.events import Event as DicomEvent

from daemon import admission, contexts, listener_care, logs, process, unruly
from daemon.commitment import Receiver
from daemon.door import Door, Request, host_of
from daemon.errors import CannotListen, CertificateUnusable
from daemon.events import Event
from daemon.file_header import file_header
from daemon.server import Server
from daemon.settings import Settings
from daemon.statuses import (
    CANNOT_UNDERSTAND,
    INVALID_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SOP_CLASS_MISMATCH,
    SUCCESS,
)
from daemon.tls import Credentials, server_credentials
from daemon.transport import Budget, Limits
from daemon.turned_away import Tally
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from storage.errors import OutOfSpace, StorageError, SyncFailed
from storage.objects import ObjectStore
from storage.records import Acceptance, Arrival

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from storage.commitments import Commitments
    from storage.queue import Queue

_UID = re.compile(r"[0-9.]{1,64}")
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
        self._settings = settings.dicom.share
        self._receiver = receiver
        self._objects = objects
        self._queue = queue
        self._bells = bells or process.Bells()
        self._log = logs.get()
        self._crowd = listener_care.Crowd(self._settings.max_waiting, queue)
        self.tally = Tally()
        self.credentials: Credentials | None = None
        self._server: Server | None = None
        self.door: Door | None = None

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
        entity.maximum_associations = self._settings.max_associations + 1000  # we count ourselves
        entity.network_timeout = self._settings.idle_timeout_s
        entity.dimse_timeout = self._settings.idle_timeout_s
        entity.acse_timeout = 10
        entity.supported_contexts = contexts.accepted()
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_RELEASED, self._ended, ["released"]),
            (evt.EVT_ABORTED, self._ended, ["aborted"]),
            (evt.EVT_DIMSE_RECV, unruly.name_the_nameless),
            (
                evt.EVT_DIMSE_RECV,
                unruly.one_at_a_time,
                [2 * self._settings.max_associations + unruly.REPORTS],
            ),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_C_STORE, self._store),
            *(self._receiver.offer(entity) if self._receiver else []),
        ]
        address = (self._settings.bind, self._settings.port)
        try:
            if self._settings.tls is not None:
                self.credentials = server_credentials(self._settings.tls)
            server: Server = entity.make_server(
                address, evt_handlers=handlers, server_class=Server,
                share_port=self._settings.listeners > 1, limits=Limits.of(self._settings),
                budget=Budget(self._settings.max_receiving_bytes), cut=self._cut,
            )  # fmt: skip
        except CertificateUnusable as error:
            raise CannotListen(str(error)) from None
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {address[0]} port {address[1]}: {error.strerror}"
            ) from None
        self._server = server
        self.door = Door(
            server.socket, self._settings, self.credentials, self._admit, self._refused
        )
        self.door.start()
        return int(server.server_address[1])

    def stop(self, drain_s: float) -> None:
        """Close the port, let the open associations end for so long, then abort the rest."""
        if self._server is None or self.door is None:
            return
        self.door.close()
        self._server.drain(drain_s)

    def tidy(self) -> None:
        """End what a fault has left of associations."""
        if self._server is not None:
            self._server.open_now()

    def _admit(self, request: Request) -> bytes | None:
        """Open an association, or return the PDU that rejects it."""
        assert self._server is not None
        address = str(request.address[0])
        there = self._server.open_now()
        rejection = admission.judge(
            self._settings,
            admission.Caller(request.calling_ae, request.called_ae, address, request.certificate),
            open_now=len(there) + 1,
            open_there=there.count(host_of(request.address)) + 1,
        )
        if rejection is None:
            try:
                self._server.admit(request)
            except RuntimeError:  # the system gives no further thread
                rejection = admission.LIMIT_EXCEEDED
            else:
                return None
        if self.tally.note(request.calling_ae, address, rejection.reason):
            self._log.warning(
                Event.ASSOCIATION_REJECTED, calling_ae=request.calling_ae, peer=address,
                reason=rejection.reason,
            )  # fmt: skip
        return rejection.pdu

    def _refused(self, address: str, reason: str) -> None:
        if self.tally.note("", address, reason):
            self._log.warning(Event.CONNECTION_REFUSED, peer=address, reason=reason)

    def _cut(self, association: Association, reason: str) -> None:
        address = str(association.requestor.address)
        asked = association.requestor.primitive
        calling_ae = "" if asked is None else str(asked.calling_ae_title).strip()
        if self.tally.note(calling_ae, address, reason):
            self._log.warning(
                Event.ASSOCIATION_CUT, calling_ae=calling_ae, peer=address, reason=reason
            )

    def _accepted(self, event: DicomEvent) -> None:
        log = self._bound(event)
        log.info(Event.ASSOCIATION_ACCEPTED)
        self.tally.let_in()
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
        if not _UID.fullmatch(uid) or uid == unruly.NO_UID:  # 2
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
        if self._crowd.is_too_long():
            log.error(Event.INSTANCE_REFUSED, status="A700", reason="the queue is too long")
            return OUT_OF_RESOURCES
        dataset = request.DataSet.getvalue()
        transfer_syntax = str(event.context.transfer_syntax)
        stored = self._objects.put(file_header(sop_class, uid, transfer_syntax), dataset)  # 3
        acceptance = self._queue().accept(  # 4
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
        return SUCCESS  # 5


def serve(settings: Settings, stop: process.Stop, owner: str, bells: process.Bells) -> int:
    """Listen until told to stop; return the exit status."""
    log = logs.get()
    threading.excepthook = unruly.fault
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
        ae_title=settings.dicom.ae_title, bind=settings.dicom.bind, port=port, process=owner,
        tls=settings.dicom.tls is not None,
    )  # fmt: skip
    bells.ring("supervisor")
    # Slow to import: who has an association by now waits with the first image
    from storage.commitments import Commitments
    from storage.database import open_database
    from storage.queue import Queue

    database = open_database(settings.storage.url)
    queue.set_result(Queue(database))
    commitments.set_result(Commitments(database))
    status = listener_care.until_stopped(stop, listener, database)
    listener.stop(process.DRAIN_S)
    database.close()
    return status
