"""C-FIND, Study Root: what a PACS says that it holds of a study (PS3.4 annex C)."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from daemon.association import accepted, associate
from daemon.contexts import STUDY_ROOT_FIND
from daemon.errors import DaemonError
from daemon.settings import PacsSettings

MOST = 100  # answers that are read to a question
PENDING = (0xFF00, 0xFF01)


class CannotAsk(DaemonError):
    """The PACS does not answer queries."""


def objects_of(pacs: PacsSettings, calling_ae: str, study_instance_uid: str) -> set[str]:
    """Return the SOP Instance UIDs that a PACS holds of a study.

    Asked from the root down, with the unique key of each level, as the standard's baseline has
    it. Raises PeerUnreachable, and CannotAsk where the PACS offers no query or fails it.
    """
    association = associate(pacs, calling_ae, [STUDY_ROOT_FIND])
    try:
        if STUDY_ROOT_FIND not in accepted(association):
            raise CannotAsk
        held: set[str] = set()
        for one in _ask(association, "SERIES", StudyInstanceUID=study_instance_uid):
            series = str(one.get("SeriesInstanceUID") or "")
            keys = {"StudyInstanceUID": study_instance_uid, "SeriesInstanceUID": series}
            held |= {
                str(image.get("SOPInstanceUID") or "")
                for image in list(_ask(association, "IMAGE", **keys))
            }
        return held - {""}
    finally:
        if association.is_established:
            association.release()


def _ask(association: Association, level: str, **keys: str) -> Iterator[Dataset]:
    question = Dataset()
    question.QueryRetrieveLevel = level
    question.SeriesInstanceUID = ""
    if level == "IMAGE":
        question.SOPInstanceUID = ""
    for name, value in keys.items():
        setattr(question, name, value)
    answers = []
    for status, found in association.send_c_find(question, STUDY_ROOT_FIND):
        code = status.get("Status")
        if code in PENDING and found is not None:
            answers.append(found)
        elif code != 0x0000:
            said = "gave no answer" if code is None else f"answered {code:04X}H"
            raise CannotAsk(f"The PACS {said} to a query.")
        if len(answers) >= MOST:
            break
    yield from answers
