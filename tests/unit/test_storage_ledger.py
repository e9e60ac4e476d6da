"""The ledger: one bundle serves, the history says why, and a roll-back is one act."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.audit import Audit, AuditQuery
from storage.bundles import BundleFacts, Deed, Loaded, ModelState
from storage.errors import NotFound
from storage.ledger import Ledger, LedgerRefuses
from storage.workers import Workers
from tests.storing import open_storage, sha256

OWN = {"pneumonia": 0.3, "pleural_effusion": 0.1}


def facts(version: str, content: str = "") -> BundleFacts:
    folder = f"chest-{version}"
    return BundleFacts(f"chest {version}", sha256(version + content), folder, "{}", OWN)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_storage(tmp_path).database)


def serving(ledger: Ledger) -> str | None:
    found = ledger.serving()
    return found and found.model.version


def registered(ledger: Ledger, *versions: str) -> list[str]:
    """Register bundles; the first is the settings'. Return their digests."""
    digests = [ledger.register(facts(version), 1).digest for version in versions]
    ledger.configure(digests[0], 2)
    return digests


def test_the_bundle_of_the_settings_serves_until_one_is_promoted(ledger: Ledger) -> None:
    assert ledger.serving() is None
    a, b = registered(ledger, "a", "b")
    assert serving(ledger) == "chest a"
    assert not ledger.configure(a, 3)
    assert ledger.configure(b, 4), "another bundle in the settings"
    assert serving(ledger) == "chest b"
    ledger.promote("a", "ada", "better", 5)
    assert not ledger.configure(b, 6)
    assert serving(ledger) == "chest a"


def test_roll_backs_go_back_line_by_line(ledger: Ledger) -> None:
    registered(ledger, "a", "b", "c")
    ledger.promote("chest b", "ada", "better", 3)
    ledger.promote("chest-c", "ada", "better still", 4)
    line = ledger.rollback("bea", "worse", 5)
    assert (line.version, line.deed, line.actor, line.reason) == (
        "chest b", Deed.ROLLED_BACK, "bea", "worse"
    )  # fmt: skip
    ledger.rollback("bea", "worse", 6)
    assert serving(ledger) == "chest a"
    with pytest.raises(LedgerRefuses, match="No bundle served before"):
        ledger.rollback("bea", "worse", 7)
    ledger.promote("c", "ada", "again", 8)
    ledger.rollback("bea", "worse", 9)
    assert serving(ledger) == "chest a"
    assert [line.at for line in ledger.history()] == [9, 8, 6, 5, 4, 3, 2]


def test_a_refused_bundle_gives_way_to_what_served_before(ledger: Ledger) -> None:
    _, b, c = registered(ledger, "a", "b", "c")
    ledger.promote("b", "ada", "better", 3)
    ledger.promote("c", "ada", "better", 4)
    assert ledger.refuse(b, "worker-0", "damaged", 5)
    assert serving(ledger) == "chest c", "it did not serve"
    assert ledger.refuse(c, "worker-0", "int8.bin was changed.", 6)
    assert serving(ledger) == "chest a", "past the refused one"
    assert ledger.history()[0].deed is Deed.REFUSED
    assert {m.version: m.state for m in ledger.models()} == {
        "chest a": ModelState.REGISTERED,
        "chest b": ModelState.REFUSED,
        "chest c": ModelState.REFUSED,
    }
    with pytest.raises(LedgerRefuses, match=r"was refused: int8\.bin was changed"):
        ledger.promote("c", "ada", "try", 7)
    ledger.register(facts("c"), 8)
    ledger.promote("c", "ada", "mended", 9)
    assert serving(ledger) == "chest c"


def test_the_only_bundle_refused_leaves_nothing_to_serve(ledger: Ledger) -> None:
    (a,) = registered(ledger, "a")
    assert not ledger.refuse(a, "worker-0", "damaged", 3)


def test_what_the_ledger_refuses_it_names(ledger: Ledger) -> None:
    (a,) = registered(ledger, "a")
    with pytest.raises(LedgerRefuses, match="another bundle of the version chest a"):
        ledger.register(facts("a", "edited"), 3)
    with pytest.raises(LedgerRefuses, match="serves already"):
        ledger.promote("a", "ada", "why not", 3)
    with pytest.raises(NotFound, match=r'"d" is no registered bundle. Registered: chest a\.'):
        ledger.promote("d", "ada", "why not", 3)
    ledger.register(facts("b"), 3)
    with pytest.raises(LedgerRefuses, match="A reason is needed"):
        ledger.promote("b", "ada", "  ", 3)
    with pytest.raises(LedgerRefuses, match=r"above 0 and at most 1. Received: 0"):
        ledger.set_threshold(a, "pneumonia", 0, "ada", "all of them", 3)
    with pytest.raises(NotFound, match="It has: pneumonia, pleural_effusion"):
        ledger.set_threshold(a, "fracture", 0.5, "ada", "bones", 3)
    assert len(ledger.history()) == 1


def test_a_threshold_belongs_to_its_bundle_and_the_last_one_counts(ledger: Ledger) -> None:
    a, b = registered(ledger, "a", "b")
    before = ledger.revision()
    ledger.set_threshold(a, "pneumonia", 0.4, "ada", "too many", 3)
    ledger.set_threshold(a, "pneumonia", 0.5, "ada", "still too many", 4)
    assert ledger.revision() != before
    assert ledger.thresholds(a) == {"pneumonia": 0.5, "pleural_effusion": 0.1}
    assert ledger.thresholds(b) == OWN
    found = ledger.serving()
    assert found is not None
    assert found.thresholds["pneumonia"] == 0.5
    ledger.set_threshold(a, "pneumonia", None, "ada", "as it was", 5)
    assert ledger.thresholds(a) == OWN
    changes = ledger.threshold_history(a)
    assert [(c.value, c.reason) for c in changes] == [
        (None, "as it was"), (0.5, "still too many"), (0.4, "too many")
    ]  # fmt: skip


def test_a_revision_says_that_something_changed(ledger: Ledger) -> None:
    seen = [ledger.revision()]
    a, _ = registered(ledger, "a", "b")
    for act in (
        lambda: ledger.promote("b", "ada", "better", 3),
        lambda: ledger.rollback("ada", "worse", 4),
        lambda: ledger.set_threshold(a, "pneumonia", 0.4, "ada", "too many", 5),
    ):
        seen.append(ledger.revision())
        act()
    seen.append(ledger.revision())
    assert len(set(seen)) == 5


def test_every_change_is_in_the_audit_trail_with_actor_and_reason(tmp_path: Path) -> None:
    database = open_storage(tmp_path).database
    ledger, audit = Ledger(database), Audit(database)
    a, b = registered(ledger, "a", "b")
    ledger.promote("b", "ada", "better", 3)
    ledger.rollback("bea", "worse", 4)
    ledger.set_threshold(a, "pneumonia", 0.4, "ada", "too many", 5)
    ledger.refuse(b, "worker-0", "damaged", 6)
    with pytest.raises(LedgerRefuses):
        ledger.promote("a", "ada", "why not", 7)
    trail = [
        (row.actor, row.action, row.subject, row.detail.get("reason"))
        for row in reversed(audit.search(AuditQuery(), 100))
    ]
    assert trail == [
        ("service", "model.registered", "chest a", None),
        ("service", "model.registered", "chest b", None),
        ("service", "model.configured", "chest a", "named by the settings"),
        ("ada", "model.promoted", "chest b", "better"),
        ("bea", "model.rolled_back", "chest a", "worse"),
        ("ada", "threshold.changed", f"{a[:12]} pneumonia", "too many"),
        ("worker-0", "model.refused", "chest b", "damaged"),
    ]
    assert audit.verify().broken is None


def test_each_worker_says_what_it_has_loaded_last(tmp_path: Path) -> None:
    workers = Workers(open_storage(tmp_path).database)
    workers.loaded(Loaded("worker-1", "chest a", "int8", "the fastest", 1))
    workers.loaded(Loaded("worker-0", "chest a", "int8", "the fastest", 2))
    workers.loaded(Loaded("worker-1", "chest b", "f32", "int8: damaged", 3))
    assert [(w.owner, w.version, w.engine) for w in workers.all()] == [
        ("worker-0", "chest a", "int8"), ("worker-1", "chest b", "f32")
    ]  # fmt: skip
