"""The canary's image: a published radiograph of a patient who is marked as none.

The radiograph is of NIH ChestX-ray14, which may be used without restriction
(deploy/demo/CREDITS.md).
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from pydicom.dataset import Dataset

from daemon.association import associate
from daemon.errors import CanaryLost, PeerUnreachable
from daemon.own_port import own_port
from daemon.settings import Settings
from daemon.simulate import Form, Kind, Patient, Uids, make_object
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
    caller = settings.canary.ae_title
    own = own_port(settings)
    try:
        association = associate(own, caller, [str(image.SOPClassUID)])
    except PeerUnreachable as error:
        allow = f'"{caller}@{own.host}" among dicom.allowed_callers?'
        raise CanaryLost(f"Our own port did not take it: {error}. Is {allow}") from error
    try:
        answer = association.send_c_store(image) if association.is_established else Dataset()
    finally:
        if association.is_established:
            association.release()
    status = answer.get("Status")
    if status != 0x0000:
        said = "gave no answer" if status is None else f"answered {status:04X}H"
        raise CanaryLost(f"Our own port {said} to its C-STORE.")
