"""The canary's image: a published radiograph of a patient who is marked as none.

The radiograph is of NIH ChestX-ray14, which may be used without restriction
(deploy/demo/CREDITS.md).
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from pydicom.dataset import Dataset

from daemon.errors import CanaryLost, DaemonError
from daemon.settings import Settings
from daemon.simulate import Form, Kind, Patient, Uids, make_object, send
from storage.canaries import Canary
from storage.records import Sha256

RADIOGRAPH = Path(__file__).with_name("canary.png")
SHA256 = Sha256("3471271648e5d69ca9cf02495baa66c375e8a09a0d5cdf357cd6148c28de702f")
PATIENT_NAME, PATIENT_ID, ISSUER = "HILUM^CANARY", "HILUM-CANARY", "HILUM"
SAYS = "Test image of the service; no patient"


def hatch(now: float) -> Canary:
    """Return a canary with UIDs that no other has, on this machine or elsewhere."""
    study = uuid4().int
    return Canary(f"2.25.{study}", f"2.25.{uuid4().int}", now)


def draw(one: Canary, radiograph: Path = RADIOGRAPH) -> Dataset:
    """Return the image that is sent. Raises CanaryLost where its file is not the known one."""
    try:
        content = radiograph.read_bytes()
    except OSError as error:
        raise CanaryLost(f"{radiograph.name} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise CanaryLost(f"{radiograph.name} is not the known image: its bytes were changed.")
    day = datetime.fromtimestamp(one.sent_at)
    patient = Patient(
        PATIENT_NAME, PATIENT_ID, "19700101", "O", f"CANARY-{day:%y%m%d}", "CANARY", day
    )
    uids = Uids(study=one.study_instance_uid, sop_instance=one.sop_instance_uid,
                series=f"2.25.{uuid4().int}")  # fmt: skip
    made = make_object(radiograph, Form(Kind.DX, 12), patient, uids)
    made.IssuerOfPatientID = ISSUER
    made.QualityControlImage = "YES"  # PS3.3 C.7.6.1
    made.StudyDescription = made.SeriesDescription = made.ImageComments = SAYS
    made.StationName = "HILUM_CANARY"
    return made


def fly(settings: Settings, image: Dataset) -> None:
    """Send it to our own port over the network. Raises CanaryLost where it is not taken."""
    dicom, caller = settings.dicom, settings.canary.ae_title
    host = own_address(dicom.bind)
    if dicom.port == 0:
        raise CanaryLost("dicom.port is 0, any free one: the canary needs a fixed port.")
    try:
        outcome = send([image], host, dicom.port, caller, dicom.ae_title)[0]
    except DaemonError as error:
        allow = f'"{caller}@{host}" among dicom.allowed_callers?'
        raise CanaryLost(f"Our own port did not take it. {error} Is {allow}") from error
    if outcome.status is None or outcome.status != 0x0000:
        said = "gave no answer" if outcome.status is None else f"answered {outcome.status:04X}H"
        raise CanaryLost(f"Our own port {said} to its C-STORE.")


def own_address(bind: str) -> str:
    """Return the address at which a service that listens there is reached from this machine."""
    address = ipaddress.ip_address(bind)
    if not address.is_unspecified:
        return bind
    return "127.0.0.1" if address.version == 4 else "::1"
