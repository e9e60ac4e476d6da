"""What the product is made of: the locked packages, their licences, the SBOM, and advisories.

`python -m docs.supply sbom FILE` writes a CycloneDX SBOM; `python -m docs.supply advisories` asks
an advisory database, and says plainly where none can be reached.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from docs.tables import table

ROOT = Path(__file__).parents[1]
RUNTIME = ROOT / "deploy" / "lock" / "runtime.txt"
FRONT_END = ROOT / "daemon" / "web" / "frontend" / "package-lock.json"
NOT_RUN = "not run: no advisory database reachable"
FOUND, NOT_ASKED = 1, 2  # exit statuses; 0 is that none is known

_LINE = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; (.+?))? \\$", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


# Its package.json states this in a form from before npm 2, which a lock leaves out.
_OLD_FORM = {"rechoir": "MIT"}


@dataclass(frozen=True, slots=True)
class Package:
    """A package as the lock has it. `licence` is "" where it is not installed here."""

    name: str
    version: str
    licence: str
    hashes: tuple[str, ...]  # of Python's: SHA-256 in hex; of npm's: SHA-512 in hex
    marker: str = ""  # for which systems alone it is
    npm: bool = False

    @property
    def purl(self) -> tuple[str, str | None, str]:
        """Type, namespace and name of the package URL."""
        scope, _, name = self.name.rpartition("/")
        return "npm" if self.npm else "pypi", scope or None, name


def locked(lock: Path = RUNTIME) -> list[Package]:
    """Return the packages of a lock file of pip's, in its order."""
    text = lock.read_text()
    found = list(_LINE.finditer(text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    return [
        Package(
            one[1], one[2], _licence(one[1]),
            tuple(_HASH.findall(text[one.end() : end])), one[3] or "",
        )
        for one, end in zip(found, ends, strict=True)
    ]  # fmt: skip


def front_end(lock: Path = FRONT_END) -> list[Package]:
    """Return the npm packages that the viewer is built from, without what only builds it."""
    packages = json.loads(lock.read_text("utf-8"))["packages"]
    return [
        Package(
            (name := path.rpartition("node_modules/")[2]), one["version"],
            str(one.get("license") or _OLD_FORM.get(name, "")),
            (base64.b64decode(one["integrity"].removeprefix("sha512-")).hex(),), npm=True,
        )
        for path, one in sorted(packages.items())
        if path and not one.get("dev")
    ]  # fmt: skip


def _licence(name: str) -> str:
    """What an installed package states: an SPDX expression, a licence, or its classifiers."""
    try:
        stated = metadata(name)
    except PackageNotFoundError:
        return ""
    expression = stated.get("License-Expression")
    text = str(stated.get("License") or "").strip()
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in stated.get_all("Classifier") or []
        if one.startswith("License ::")
    ]
    short = text if text and len(text) < 60 and "::" not in text else ""
    return str(expression or short or " or ".join(classifiers))


def licences() -> str:
    """Return the two tables of docs/licences.md."""
    python = [
        (one.name, one.version, one.licence or f"not installed here ({one.marker})")
        for one in locked()
    ]
    npm = [(one.name, one.version, one.licence) for one in front_end()]
    heads = ("package", "version", "licence")
    return f"Python, from `deploy/lock/runtime.txt`:\n\n{table(heads, python)}\n\nThe front end," \
        f" from its package-lock.json:\n\n{table(heads, npm)}"  # fmt: skip


def sbom() -> str:
    """Return the SBOM: CycloneDX 1.6 as JSON, validated by its schema. Raises ValueError."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.spdx import is_expression
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL

    def licence(stated: str) -> list[DisjunctiveLicense | LicenseExpression]:
        if not stated:
            return []
        known = is_expression(stated)
        return [LicenseExpression(stated) if known else DisjunctiveLicense(name=stated)]

    def component(one: Package) -> Component:
        kind, scope, name = one.purl
        algorithm = HashAlgorithm.SHA_512 if one.npm else HashAlgorithm.SHA_256
        url = PackageURL(kind, scope, name, one.version)
        return Component(
            type=ComponentType.LIBRARY, name=name, group=scope, version=one.version,
            purl=url, bom_ref=str(url), licenses=licence(one.licence),
            hashes=[HashType(alg=algorithm, content=each) for each in one.hashes],
        )  # fmt: skip

    us = Component(
        type=ComponentType.APPLICATION, name="hilum", version=_own_version(),
        licenses=licence("Apache-2.0"), bom_ref="hilum",
    )  # fmt: skip
    bom = Bom(components=[component(one) for one in (*locked(), *_once(front_end()))])
    bom.metadata.component = us
    bom.register_dependency(us, bom.components)
    made = JsonV1Dot6(bom).output_as_string(indent=1)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(made)
    if fault is not None:
        raise ValueError(f"The SBOM is no CycloneDX: {fault}")
    return made


def _once(packages: list[Package]) -> list[Package]:
    """npm may hold a version of a package in several places."""
    return list({(one.name, one.version): one for one in packages}.values())


def _own_version() -> str:
    found = re.search(r'^version = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return found[1] if found else "0"


def advisories(arguments: Sequence[str] = (), lock: Path = RUNTIME) -> tuple[str, int]:
    """Ask for known vulnerabilities of the locked packages; return what to say and the status."""
    ran = subprocess.run(
        [
            sys.executable, "-m", "pip_audit", "--no-deps", "--disable-pip", "--require-hashes",
            "--requirement", str(lock), "--format", "json", "--progress-spinner", "off",
            "--timeout", "10", *arguments,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        asked = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (ran.stderr.strip().splitlines() or ["no answer"])[-1]
        why = last if "Connection" not in ran.stderr else "the connection failed"
        return f"{NOT_RUN} ({why[:200]})", NOT_ASKED
    skipped = [one["name"] for one in asked if "skip_reason" in one]
    if len(skipped) == len(asked):
        return f"{NOT_RUN} (it knows none of the packages)", NOT_ASKED
    bad = [
        (one["name"], one["version"], each["id"]) for one in asked for each in one.get("vulns", ())
    ]
    lines = [f"{name} {version}: {found}" for name, version, found in bad]
    lines.append(f"{len(asked) - len(skipped)} packages asked about, {len(bad)} advisories")
    lines += [f"not asked about: {', '.join(skipped)}"] if skipped else []
    return "\n".join(lines), FOUND if bad else NOT_ASKED if skipped else 0


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; return the exit status."""
    match arguments:
        case ["sbom", file]:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(sbom() + "\n")
            print(f"{file}: {len(locked())} Python and {len(_once(front_end()))} npm packages")
            return 0
        case ["advisories"]:
            says, status = advisories()
            print(says)
            return status
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
