"""A scripted PACS with a will of its own: what it proposes to take, and storage commitment."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from tests.harness import Pacs

ALL_DONE, SOME_FAILED = 1, 2  # event types, PS3.4 table J.3-2
LITTLE_ENDIAN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)


@dataclass
class Archive(Pacs):
    """A PACS that takes these classes in these syntaxes, and remembers each association."""

    contexts: tuple[str, ...] = (ComprehensiveSRStorage,)
    syntaxes: Sequence[str] = LITTLE_ENDIAN
    aborts: int = 0  # so many of the next C-STOREs end in an abort
    silent: bool = False  # no C-STORE is answered while this holds
    proposals: list[set[str]] = field(default_factory=list)  # of each association
    ends: list[str] = field(default_factory=list)  # "released" or "aborted"
    encodings: list[str] = field(default_factory=list)  # transfer syntax of each C-STORE

    def start(self, port: int = 0) -> Archive:
        entity = AE(ae_title=self.ae_title)
        entity.maximum_associations = 50
        for uid in self.contexts:
            entity.add_supported_context(uid, list(self.syntaxes))
        self._server = entity.start_server(
            ("127.0.0.1", port or self.port), block=False, evt_handlers=self.handlers()
        )
        self.port = self._server.server_address[1]
        return self

    def handlers(self) -> list[Any]:
        return [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_RELEASED, lambda _: self.ends.append("released")),
            (evt.EVT_ABORTED, lambda _: self.ends.append("aborted")),
        ]

    def hang_up(self) -> None:
        """Abort every association that is open."""
        for association in self._server.active_associations:
            association.abort()

    def _requested(self, event: Any) -> None:
        proposed = event.assoc.requestor.primitive.presentation_context_definition_list
        self.proposals.append({str(context.abstract_syntax) for context in proposed})

    def _store(self, event: Any) -> int:
        self.encodings.append(str(event.context.transfer_syntax))
        if self.aborts:
            self.aborts -= 1
            self.asked += 1
            event.assoc.abort()
            return 0x0000
        while self.silent:
            time.sleep(0.02)
        return super()._store(event)


@dataclass
class Committer(Archive):
    """An archive that offers storage commitment, and reports as it is told."""

    report: str = "same"  # on the "same" association, on a "new" one, or "never"
    refuses: int = 0x0000  # status for the next N-ACTION, then 0000H
    fails: dict[str, int] = field(default_factory=dict)  # SOP instance to failure reason
    listener_port: int = 0
    requests: list[Dataset] = field(default_factory=list)
    statuses: list[int | None] = field(default_factory=list)  # that its reports were answered with

    def start(self, port: int = 0) -> Committer:
        self.contexts = (*self.contexts, StorageCommitmentPushModel)
        super().start(port)
        return self

    def handlers(self) -> list[Any]:
        return [*super().handlers(), (evt.EVT_N_ACTION, self._action)]

    def _action(self, event: Any) -> tuple[int, None]:
        status, self.refuses = self.refuses, 0x0000
        if status:
            return status, None
        self.requests.append(event.action_information)
        if self.report == "same":
            threading.Thread(target=self._on_same, args=(event.assoc, self.requests[-1])).start()
        elif self.report == "new":
            threading.Thread(target=self.report_anew, args=(self.requests[-1],)).start()
        return 0x0000, None

    def _on_same(self, association: Any, request: Dataset) -> None:
        time.sleep(0.1)  # after the answer to the request, as PS3.4 J.3.3 has it
        self._send(association, request)

    def report_anew(
        self, request: Dataset, *, role: bool = True, information: Dataset | None = None
    ) -> None:
        """Report on an association of its own: this, or what the request calls for."""
        entity = AE(ae_title=self.ae_title)
        entity.add_requested_context(StorageCommitmentPushModel)
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if role else []
        association = entity.associate(
            "127.0.0.1", self.listener_port, ae_title="HILUM", ext_neg=roles
        )
        assert association.is_established
        if information is None:
            self._send(association, request)
        else:
            self.tell(association, information, ALL_DONE)
        association.release()

    def _send(self, association: Any, request: Dataset) -> None:
        information = Dataset()
        information.TransactionUID = request.TransactionUID
        done, failed = [], []
        for item in request.ReferencedSOPSequence:
            reason = self.fails.get(str(item.ReferencedSOPInstanceUID))
            one = Dataset()
            one.ReferencedSOPClassUID = item.ReferencedSOPClassUID
            one.ReferencedSOPInstanceUID = item.ReferencedSOPInstanceUID
            if reason is None:
                done.append(one)
            else:
                one.FailureReason = reason
                failed.append(one)
        if done:
            information.ReferencedSOPSequence = done
        if failed:
            information.FailedSOPSequence = failed
        self.tell(association, information, SOME_FAILED if failed else ALL_DONE)

    def tell(self, association: Any, information: Dataset, event_type: int) -> None:
        """Send an N-EVENT-REPORT, and keep what it was answered with."""
        for context in association.accepted_contexts:
            context._as_scp = context._as_scu = True  # pynetdicom: a report goes against the roles
        answer, _ = association.send_n_event_report(
            information, event_type,
            StorageCommitmentPushModel, StorageCommitmentPushModelInstance,
        )  # fmt: skip
        self.statuses.append(answer.get("Status"))
