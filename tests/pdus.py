"""PDUs as bytes, for peers that say what no library would."""

from __future__ import annotations

from pynetdicom import build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)

from daemon import contexts


def request(calling: str = "CR1", sop_class: str = contexts.COMPUTED_RADIOGRAPHY) -> bytes:
    """An A-ASSOCIATE-RQ for one SOP class as context 1, as pynetdicom makes it."""
    asked = A_ASSOCIATE()
    asked.application_context_name = "1.2.840.10008.3.1.1.1"
    asked.calling_ae_title, asked.called_ae_title = calling, "HILUM"
    proposed = build_context(sop_class)
    proposed.context_id = 1
    asked.presentation_context_definition_list = [proposed]
    largest, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    largest.maximum_length_received = 16384
    implementation.implementation_class_uid = "1.2.3.4"
    asked.user_information = [largest, implementation]
    return bytes(A_ASSOCIATE_RQ(asked).encode())
