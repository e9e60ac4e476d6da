"""The tables of the conformance statement, made from the code (PS3.2 annex N)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pydicom.tag import Tag

from classifier.bundle import load_bundle
from classifier.eligibility import REASONS
from daemon import admission, association, commitment, contexts, courier, statuses, transport
from daemon.findings import CATALOGUE
from daemon.report import codes, conformance, header
from daemon.settings import DicomSettings, PacsSettings
from daemon.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, MODEL_NAME
from docs import web_services
from docs.tables import table

_SETTINGS = {"sc": '`report.heat_map = "sc"`', "gsps": '`report.heat_map = "gsps"`'}


def _product() -> str:
    rows = [
        ("product", MODEL_NAME),
        ("implementation class UID", IMPLEMENTATION_CLASS_UID),
        ("implementation version name", IMPLEMENTATION_VERSION_NAME),
    ]
    return table(("what", "value"), rows)


FIND = "Study Root Query/Retrieve Information Model - FIND"


def _services() -> str:
    """The overview: each SOP class with its roles."""
    proposed = {*contexts.REPORT_FORMS, *contexts.HEAT_MAPS.values()}
    rows = [
        ("Verification", contexts.VERIFICATION, "`hilum check`", "yes"),
        *(
            (name, uid, "yes" if uid in proposed else "", "yes")
            for uid, name in contexts.NAMES.items()
        ),
        ("Storage Commitment Push Model", contexts.STORAGE_COMMITMENT, "where set", ""),
        (FIND, contexts.STUDY_ROOT_FIND, "for the canary", ""),
    ]
    return table(("SOP class", "UID", "SCU", "SCP"), rows)


def _roots() -> str:
    title = f"({codes.TITLE.value}, {codes.TITLE.scheme_designator}, {codes.TITLE.meaning})"
    rows = [
        (contexts.NAMES[contexts.COMPREHENSIVE_SR], "TID 1500 Measurement Report", title),
        (contexts.NAMES[contexts.BASIC_TEXT_SR], "none", title),
    ]
    return table(("SOP class", "root template", "document title"), rows)


def _sop_classes() -> str:
    rows = [
        ("Verification", contexts.VERIFICATION, "answered"),
        *((name, uid, _done_with(uid)) for uid, name in contexts.IMAGES.items()),
        *((name, uid, "acknowledged and ignored") for uid, name in contexts.IGNORED.items()),
        ("Storage Commitment Push Model", contexts.STORAGE_COMMITMENT, "reports on it are taken"),
    ]
    return table(("SOP class", "UID", "what is done with it"), rows)


def _done_with(uid: str) -> str:
    configured = {
        contexts.SECONDARY_CAPTURE: "secondary_capture",
        contexts.DIGITAL_XRAY_FOR_PROCESSING: "for_processing",
    }
    if uid not in configured:
        return "classified"
    return f'not analysed; classified with `also_classify = ["{configured[uid]}"]`'


def _transfer_syntaxes() -> str:
    rows = (
        (name, uid, "all" if uid in contexts.UNCOMPRESSED else "images alone")
        for uid, name in contexts.TRANSFER_SYNTAXES.items()
    )
    return table(("transfer syntax", "UID", "SOP classes"), rows)


def _proposed() -> str:
    syntaxes = "<br>".join(f"{name} ({uid})" for uid, name in contexts.SENT_IN.items())
    rows = [
        *((name, uid, syntaxes, "SCU", "a report") for uid, name in contexts.REPORT_FORMS.items()),
        *(
            (contexts.NAMES[uid], uid, syntaxes, "SCU", f"heat maps, {_SETTINGS[kind]}")
            for kind, uid in contexts.HEAT_MAPS.items()
        ),
        (
            "Storage Commitment Push Model", contexts.STORAGE_COMMITMENT, syntaxes, "SCU",
            "`pacs.storage_commitment`; on an association of its own",
        ),
        ("Verification", contexts.VERIFICATION, syntaxes, "SCU", "`hilum check`"),
        (FIND, contexts.STUDY_ROOT_FIND, syntaxes, "SCU", "what became of the canary's report"),
    ]  # fmt: skip
    return table(("abstract syntax", "UID", "transfer syntaxes", "role", "when"), rows)


def _store_statuses() -> str:
    rows = ((f"{code:04X}H", text) for code, text in statuses.STATUS_CODES.items())
    return table(("status", "meaning"), rows)


def _sent_statuses() -> str:
    said = {
        courier.Answer.STORED: "stored: done",
        courier.Answer.LATER: "tried again, for ever",
        courier.Answer.DEAD: "dead letter: an administrator decides",
    }
    shown = {
        "0000H": 0x0000, "Bxxx": 0xB000, "A7xx": 0xA700, "A9xx": 0xA900, "Cxxx": 0xC000,
        "0122H": 0x0122, "any other": 0x0110, "no answer": None,
    }  # fmt: skip
    return table(
        ("answer of the PACS", "what is done"),
        ((name, said[courier.meaning(code)]) for name, code in shown.items()),
    )


def _report_statuses() -> str:
    rows = ((f"{code:04X}H", text) for code, text in commitment.STATUS_CODES.items())
    return table(("status", "meaning"), rows)


def _failure_reasons() -> str:
    rows = ((f"{code:04X}H", text) for code, text in commitment.FAILURE_REASONS.items())
    return table(("failure reason (0008,1197)", "meaning"), rows)


def _rejections() -> str:
    rejections = (
        admission.LIMIT_EXCEEDED,
        admission.SHARE_EXCEEDED,
        admission.CALLED_AE_UNKNOWN,
        admission.CALLING_AE_UNKNOWN,
        admission.CERTIFICATE_OF_ANOTHER,
    )
    rows = ((r.result, r.source, r.diagnostic, r.reason) for r in rejections)
    return table(("result", "source", "diagnostic", "reason"), rows)


def _limits() -> str:
    own, peer = DicomSettings(), PacsSettings.model_fields
    rows = [
        ("acceptor", "associations at a time", f"{own.max_associations} (setting)"),
        ("acceptor", "associations of one address", f"{own.most_of_one_address} (setting)"),
        ("acceptor", "connections without a request", f"{own.max_connections} (setting)"),
        ("acceptor", "TLS handshake and request", f"{own.request_timeout_s:.0f} s (setting)"),
        ("acceptor", "largest PDU received", f"{own.max_pdu_bytes} bytes (setting)"),
        ("acceptor", "largest message", f"{own.max_message_bytes} bytes (setting)"),
        ("acceptor", "a message's time", f"{own.message_timeout_s:.0f} s (setting)"),
        ("acceptor", "messages coming in, together", f"{own.max_receiving_bytes} bytes (setting)"),
        ("acceptor", "fragments in one PDU", transport.MAX_FRAGMENTS),
        ("acceptor", "an association's time", f"{own.association_timeout_s:.0f} s (setting)"),
        ("acceptor", "an association's bytes", f"{own.max_association_bytes} (setting)"),
        ("acceptor", "idle time until abort", f"{own.idle_timeout_s:.0f} s (setting)"),
        ("initiator", "associations at a time", "one to each PACS, one more for its commitment"),
        ("initiator", "time-outs", f"{peer['timeout_s'].default:.0f} s (setting)"),
        ("initiator", "kept open for the next report", f"{association.KEEP_S:.0f} s"),
        ("initiator", "wait for a report of commitment", f"{commitment.REPORT_S:.0f} s, then any"),
        ("initiator", "objects in one request for commitment", commitment.BATCH),
        ("both", "asynchronous operations", "not supported"),
    ]
    return table(("role", "what", "value"), rows)


def _configuration() -> str:
    rows = [
        (f"`{section}.{key}`", field.description)
        for section, model in (("dicom", DicomSettings), ("pacs", PacsSettings))
        for key, field in model.model_fields.items()
    ]
    return table(("key", "what it is"), rows)


def _iods() -> str:
    """What each created object always has, checked before it is kept or sent."""
    made = list(conformance.MANDATORY)
    keywords = {one for parts in conformance.MANDATORY.values() for part in parts for one in part}
    rows = [
        (_tag(keyword), keyword, *(_presence(uid, keyword) for uid in made))
        for keyword in sorted(keywords, key=_tag)
    ]
    names = (contexts.NAMES[uid].removesuffix(" Storage") for uid in made)
    return table(("tag", "attribute", *names), rows)


def _presence(uid: str, keyword: str) -> str:
    filled, present = conformance.MANDATORY[uid]
    return "ALWAYS" if keyword in filled else "VNAP" if keyword in present else ""


def _tag(keyword: str) -> str:
    return str(Tag(keyword)).replace(", ", ",")


def _mapping() -> str:
    rows = [
        *((_tag(one), one, "ALWAYS or EMPTY") for one in header._REQUIRED),
        *((_tag(one), one, "ANAP") for one in (*header._OPTIONAL, *header._OPTIONAL_SEQUENCES)),
        (_tag("SpecificCharacterSet"), "SpecificCharacterSet", "ANAP"),
        (_tag("RequestAttributesSequence"), "RequestAttributesSequence", "ANAP"),
    ]
    return table(("tag", "attribute of the image", "presence"), sorted(rows))


def _codes() -> str:
    return table(("code", "scheme", "meaning"), sorted(set(_coded())))


def _coded() -> Iterator[tuple[str, str, str]]:
    for found in vars(codes).values():
        for one in _flat(found):
            yield one.value, one.scheme_designator, one.meaning
    for finding in load_bundle("default").manifest.findings:
        code = finding.label.code
        yield code.value, code.scheme, code.meaning
    for added in CATALOGUE.values():
        yield added.code_value, added.code_scheme, added.code_meaning


def _flat(found: object) -> Iterator[codes.Code]:
    if isinstance(found, codes.Code):
        yield found
    elif isinstance(found, dict | tuple):
        for one in found.values() if isinstance(found, dict) else found:
            yield from _flat(one)


def _reasons() -> str:
    """Every reason why an image was not analysed."""
    worker = {
        "undecodable": "The pixels do not decode; the text says why",
        "unreadable": "The dataset cannot be read",
        "crashed": "Reading it ended the process, each time that it was tried",
        "failed": "An unforeseen fault, each time that it was tried",
        "object_missing": "The stored file is gone",
        "object_damaged": "The stored file was changed",
    }
    rows = [
        (code, codes.PRIVATE_SCHEME, meaning) for code, meaning in {**REASONS, **worker}.items()
    ]
    return table(("code", "scheme", "why the image was not analysed"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "product": _product,
    "services": _services,
    "sr-roots": _roots,
    "sop-classes": _sop_classes,
    "transfer-syntaxes": _transfer_syntaxes,
    "proposed": _proposed,
    "limits": _limits,
    "rejections": _rejections,
    "store-statuses": _store_statuses,
    "sent-statuses": _sent_statuses,
    "report-statuses": _report_statuses,
    "failure-reasons": _failure_reasons,
    "configuration": _configuration,
    "iods": _iods,
    "mapping": _mapping,
    "codes": _codes,
    "reasons": _reasons,
    "web-transactions": web_services.transactions,
    "web-keys": web_services.keys,
    "web-frames": web_services.frames,
}
