"""FHIR R4 reports as JSON: a Bundle of DiagnosticReport, Observation and ServiceRequest, or one.

https://hl7.org/fhir/R4/diagnosticreport.html; what is not used of a resource is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from daemon.codes import Code, scheme
from daemon.statements import Statements, WrongLabels

Resource = Mapping[str, Any]

FINAL = {"final", "amended", "corrected", "appended"}
UNFINISHED = {"registered", "partial", "preliminary"}
ACCESSION = "ACSN"  # of v2-0203: Accession ID


def looks_like_it(text: str) -> bool:
    """Whether a file's text begins as JSON."""
    return text.lstrip()[:1] in ("{", "[")


def read(text: str, system: str | None, found: Statements) -> None:
    """Take every report; what cannot be used is noted there.

    system: of the identifier that is the accession number; without one, that of the type ACSN.
    Raises WrongLabels where it is no FHIR at all.
    """
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WrongLabels("It begins as JSON, and is none.") from error
    known = _known(whole)
    reports = [one for one in known.values() if one.get("resourceType") == "DiagnosticReport"]
    unique = {id(one): one for one in reports}
    if not unique:
        raise WrongLabels("There is no DiagnosticReport in it: neither a Bundle nor one alone.")
    for number, report in enumerate(unique.values(), start=1):
        found.reports += 1
        _take(report, number, known, system, found)


def _known(whole: Any) -> dict[str, Resource]:
    """Every resource by what a reference may call it."""
    if not isinstance(whole, dict) or not isinstance(whole.get("resourceType"), str):
        raise WrongLabels("It is JSON, and no FHIR resource.")
    entries = [{"resource": whole}]
    if whole["resourceType"] == "Bundle":
        entries = _dicts(whole.get("entry"))
    known: dict[str, Resource] = {}
    for place, entry in enumerate(entries):
        resource = entry.get("resource")
        if not isinstance(resource, dict):
            continue
        names = [f"#{place}", entry.get("fullUrl")]
        if isinstance(resource.get("id"), str):
            names.append(f"{resource.get('resourceType')}/{resource['id']}")
        known |= {name: resource for name in names if isinstance(name, str)}
    return known


def _take(
    report: Resource, number: int, known: Mapping[str, Resource], system: str | None,
    found: Statements,
) -> None:  # fmt: skip
    numbers = set(_accessions(report, known, system))
    status = report.get("status")
    if len(numbers) != 1:
        many = "more than one accession number" if numbers else "no accession number"
        found.faults.append(f"report {number} has {many}")
        return
    (accession,) = numbers
    if status not in FINAL:
        why = "unfinished" if status in UNFINISHED else "not to be used"
        told = f"the report of accession number {accession} is {why} (status {str(status)[:24]})"
        found.faults.append(told)
        return
    for concept in _dicts(report.get("conclusionCode")):
        found.concluded(accession, _codes(concept))
    for reference in _dicts(report.get("result")):
        observation = _follow(reference, report, known)
        if observation is None:
            found.faults.append(
                f"an Observation of accession number {accession} is not in the file"
            )
        else:
            _observe(observation, accession, report, known, found)


def _observe(
    observation: Resource, accession: str, report: Resource, known: Mapping[str, Resource],
    found: Statements,
) -> None:  # fmt: skip
    status = observation.get("status")
    if status in ("cancelled", "entered-in-error"):
        return
    if status not in FINAL:
        told = f"an Observation of accession number {accession} is unfinished"
        found.faults.append(f"{told} (status {str(status)[:24]})")
        return
    codes = _codes(observation.get("code"))
    value = observation.get("valueCodeableConcept")
    text, truth = observation.get("valueString"), observation.get("valueBoolean")
    members = [_follow(one, report, known) for one in _dicts(observation.get("hasMember"))]
    if value is None and text is None and truth is None and members:
        for one in members:
            if one is not None and one is not observation and not one.get("hasMember"):
                _observe(one, accession, report, known, found)
        return
    found.observed(
        accession, codes, _codes(value), text if isinstance(text, str) else None,
        truth if isinstance(truth, bool) else None,
    )  # fmt: skip


def _accessions(
    report: Resource, known: Mapping[str, Resource], system: str | None
) -> Iterator[str]:
    """Of the report, else of what it is based on, else of its imaging studies."""
    own = list(_numbers(report.get("identifier"), system))
    if own:
        yield from own
        return
    for name in ("basedOn", "imagingStudy"):
        found = []
        for reference in _dicts(report.get(name)):
            found += list(_numbers([reference.get("identifier")], system))
            request = _follow(reference, report, known)
            if request is not None:
                found += list(_numbers(request.get("identifier"), system))
        if found:
            yield from found
            return


def _numbers(identifiers: Any, system: str | None) -> Iterator[str]:
    for one in _dicts(identifiers):
        value = one.get("value")
        kinds = [code for code, _ in _codes(one.get("type"))]
        fits = one.get("system") == system if system else ACCESSION in kinds
        if fits and isinstance(value, str) and value.strip():
            yield value.strip()


def _follow(
    reference: Resource, report: Resource, known: Mapping[str, Resource]
) -> Resource | None:
    """The resource that a reference names, in the file or contained in the report."""
    name = reference.get("reference")
    if not isinstance(name, str):
        return None
    if name.startswith("#"):
        contained = _dicts(report.get("contained"))
        return next((one for one in contained if one.get("id") == name[1:]), None)
    return known.get(name) or known.get("/".join(name.rstrip("/").split("/")[-2:]))


def _codes(concept: Any) -> list[Code]:
    if not isinstance(concept, dict):
        return []
    return [
        (one["code"], scheme(str(one.get("system", ""))))
        for one in _dicts(concept.get("coding"))
        if isinstance(one.get("code"), str)
    ]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
