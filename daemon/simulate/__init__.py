"""A modality: image files become CR, DX or Secondary Capture objects and are sent by C-STORE."""

from daemon.simulate.demo import SimulatedObject, demo_objects
from daemon.simulate.encoding import transfer_syntaxes
from daemon.simulate.form import CannotSimulate, Damage, Form, Kind, Modality, Voi
from daemon.simulate.objects import Patient, Uids, make_object, to_bytes
from daemon.simulate.scu import SendOutcome, send

__all__ = [
    "CannotSimulate",
    "Damage",
    "Form",
    "Kind",
    "Modality",
    "Patient",
    "SendOutcome",
    "SimulatedObject",
    "Uids",
    "Voi",
    "demo_objects",
    "make_object",
    "send",
    "to_bytes",
    "transfer_syntaxes",
]
