"""The bundles of a service on its disk: one folder each under ``<storage.root>/models``.

A bundle is copied in whole, verified, and never edited; what is there and sound is left as it is.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from classifier.bundle import Bundle, default_folder, load_bundle
from classifier.errors import BundleRefused
from storage.bundles import BundleFacts, Model
from storage.ledger import Ledger
from storage.objects import make_folder
from storage.people import SERVICE


class Shelf:
    """The folder of a service's bundles."""

    def __init__(self, root: Path) -> None:
        """Work under a storage root; the folder is made by the first bundle."""
        self.folder = root / "models"

    def take(
        self,
        source: Path | str,
        ledger: Ledger,
        at: float,
        actor: str = SERVICE,
        *,
        link: bool = False,
    ) -> Model:
        """Verify a bundle, copy it in, and register it.

        `link` spares the space where the file system allows: for a bundle that came with the
        product, which nobody edits.
        Raises BundleRefused; LedgerRefuses where its version is taken; OSError where it cannot be
        copied.
        """
        bundle = load_bundle(source)
        damaged = bundle.damaged_graphs()
        if damaged and actor != SERVICE:  # the service's own start must not fail for a graph
            raise BundleRefused(" ".join(damaged.values()))
        facts = facts_of(bundle)
        ledger.check_version(facts)
        target = self.folder / facts.folder
        with self._alone():
            if not _as_good(target, bundle, damaged):
                self._copy(bundle, target, damaged, link=link)
        return ledger.register(facts, at, actor)

    def load(self, folder: str, digest: str) -> Bundle:
        """Return a bundle from the shelf, verified. Raises BundleRefused."""
        bundle = load_bundle(self.folder / folder)
        if bundle.digest != digest:
            raise BundleRefused(f"{folder} is not the bundle that was registered.")
        return bundle

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Several workers start at once, and each takes the bundle of the settings."""
        make_folder(self.folder)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _copy(self, bundle: Bundle, target: Path, damaged: Collection[str], *, link: bool) -> None:
        """Put the whole folder in its place at once; a damaged one there goes."""
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=self.folder))
        try:
            for source in sorted(bundle.folder.iterdir()):
                _place(source, draft / source.name, link=link)
            if not _as_good(draft, bundle, damaged):
                raise BundleRefused("The bundle changed while it was copied.")
            draft.chmod(0o755)
            if target.exists():
                target.rename(draft.with_name(f"{draft.name}.damaged"))
            draft.rename(target)
            _sync(self.folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            shutil.rmtree(draft.with_name(f"{draft.name}.damaged"), ignore_errors=True)


def _as_good(folder: Path, bundle: Bundle, damaged: Collection[str]) -> bool:
    """Whether the folder holds the bundle, with no more graphs damaged than these."""
    try:
        found = load_bundle(folder)
    except BundleRefused:
        return False
    return found.digest == bundle.digest and set(found.damaged_graphs()) <= set(damaged)


def configured(setting: str) -> Path:
    """Return the folder that ``classifier.bundle`` names."""
    return default_folder() if setting == "default" else Path(setting)


def facts_of(bundle: Bundle) -> BundleFacts:
    """Return what the ledger keeps of a bundle."""
    manifest = bundle.manifest
    return BundleFacts(
        version=bundle.version,
        digest=bundle.digest,
        folder=f"{manifest.name}-{manifest.version}",
        card=manifest.model_dump_json(),
        thresholds={one.label.name: one.threshold for one in manifest.findings},
    )


def _place(source: Path, target: Path, *, link: bool) -> None:
    if link:
        try:
            target.hardlink_to(source)
        except OSError:  # another file system, or another owner
            pass
        else:
            return
    with source.open("rb") as read, target.open("xb") as written:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
        os.fsync(written.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
