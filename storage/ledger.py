"""The ledger: which bundles there are, which one serves, and at which thresholds.

What serves is the last line of a history that is only ever added to. `storage.bundles.Deed` draws
how one line follows another. Each change is in the audit trail by the same commit.
"""

from __future__ import annotations

import json

from sqlalchemy import Connection, insert, select, update

from storage.audit import Audit
from storage.bundles import (
    BundleFacts,
    Deed,
    Model,
    ModelState,
    Promotion,
    Revision,
    ServingModel,
    ThresholdChange,
)
from storage.database import Database, insert_or
from storage.doubts import doubts_of
from storage.errors import NotFound, Refused
from storage.ledger_rows import (
    last_line,
    line_id,
    newest_line,
    overrides,
    promotions,
    revision_of,
    to_model,
    to_promotion,
)
from storage.people import SERVICE, Action
from storage.results import AnyRow, cut
from storage.schema import model, promotion, threshold

NO_REASON = "A reason is needed: the history keeps it."


_ACTIONS = {
    Deed.CONFIGURED: Action.MODEL_CONFIGURED,
    Deed.PROMOTED: Action.MODEL_PROMOTED,
    Deed.ROLLED_BACK: Action.MODEL_ROLLED_BACK,
    Deed.REFUSED: Action.MODEL_REFUSED,
}


class LedgerRefuses(Refused):
    """The ledger cannot do this."""


class Ledger:
    """The bundles of a service. Safe to use from several threads."""

    def __init__(self, database: Database) -> None:
        """Work on a migrated database."""
        self._database = database
        self._audit = Audit(database)

    # -- bundles -----------------------------------------------------------------------------

    def check_version(self, facts: BundleFacts) -> None:
        """Raise LedgerRefuses where the version is taken by other contents."""
        query = select(model.c.digest).where(model.c.version == facts.version)
        with self._database.read() as connection:
            if connection.execute(query).scalar_one_or_none() not in (None, facts.digest):
                raise LedgerRefuses(
                    f"There is another bundle of the version {facts.version}: "
                    "a bundle is never edited; give the new one another version."
                )

    def register(self, facts: BundleFacts, at: float, actor: str = SERVICE) -> Model:
        """Take a verified bundle in; one that was refused may serve again.

        Raises LedgerRefuses where its version is taken by other contents.
        """
        values = {
            "version": facts.version, "digest": facts.digest, "folder": facts.folder,
            "card": facts.card, "thresholds": json.dumps(dict(facts.thresholds)),
            "registered_at": at, "state": ModelState.REGISTERED,
        }  # fmt: skip
        same = model.c.digest == facts.digest
        with self._database.write() as connection:
            self.check_version(facts)
            before = connection.execute(select(model.c.state).where(same)).scalar_one_or_none()
            new = insert_or(connection, model).values(**values)
            connection.execute(new.on_conflict_do_nothing())
            again = {"state": ModelState.REGISTERED, "reason": None, "folder": facts.folder}
            connection.execute(update(model).where(same).values(**again))
            if before != ModelState.REGISTERED:
                made = {"digest": facts.digest}
                self._audit.append(actor, Action.MODEL_REGISTERED, facts.version, made, at=at)
            return self._model_of(connection, facts.digest)

    def models(self) -> tuple[Model, ...]:
        """Return every bundle, the newest first."""
        with self._database.read() as connection:
            return tuple(map(to_model, connection.execute(select(model).order_by(-model.c.id))))

    def find(self, named: str) -> Model:
        """Return the bundle of that version ("name version", "name-version" or the version alone),
        or whose digest begins so. Raises NotFound, also where several do.
        """
        found = [one for one in self.models() if named in _names(one)] or [
            one for one in self.models() if len(named) >= 8 and one.digest.startswith(named)
        ]
        if len(found) != 1:
            known = ", ".join(one.version for one in self.models()) or "none"
            many = "is not one bundle alone" if found else "is no registered bundle"
            raise NotFound(f'"{named}" {many}. Registered: {known}.')
        return found[0]

    # -- what serves -------------------------------------------------------------------------

    def revision(self) -> Revision:
        """Return what changes with every change: one statement, two index look-ups."""
        with self._database.read() as connection:
            return revision_of(connection)

    def serving(self) -> ServingModel | None:
        """Return what serves; None before the first bundle was registered by a worker."""
        with self._database.read() as connection:
            last = last_line(connection)
            if last is None:
                return None
            found = self._model(connection, last.model_id)
            own = {**found.thresholds, **overrides(connection, found.digest)}
            doubted = frozenset(doubts_of(connection, found.digest))
            line = to_promotion(last)
            return ServingModel(found, line, own, revision_of(connection), doubted)

    def history(self, limit: int = 200) -> tuple[Promotion, ...]:
        """Return what served when, the newest first."""
        with self._database.read() as connection:
            rows = connection.execute(promotions().limit(limit))
            return tuple(map(to_promotion, rows))

    def configure(self, digest: str, at: float) -> bool:
        """Let the bundle of the settings serve, unless one was ever promoted or it does already.

        Return whether the history has a new line.
        """
        with self._database.write() as connection:
            last = last_line(connection)
            if last is not None and (last.deed != Deed.CONFIGURED or last.digest == digest):
                return False
            found = self._registered(connection, digest)
            reason = "named by the settings"
            self._append(connection, found, Deed.CONFIGURED, SERVICE, reason, at, line_id(last))
            return True

    def promote(self, version: str, actor: str, reason: str, at: float) -> Promotion:
        """Let a registered bundle serve. `version` as `find` takes it.

        Raises NotFound; and LedgerRefuses where it serves already, was refused, or no reason is
        given.
        """
        found = self.find(version)
        with self._database.write() as connection:
            found = self._registered(connection, found.digest)
            last = last_line(connection)
            if last is not None and last.model_id == found.id:
                raise LedgerRefuses(f"{found.version} serves already.")
            why = _required(reason)
            self._append(connection, found, Deed.PROMOTED, actor, why, at, line_id(last))
            return newest_line(connection)

    def rollback(self, actor: str, reason: str, at: float) -> Promotion:
        """Let what served before the last promotion serve again.

        Raises LedgerRefuses where nothing did, or no reason is given.
        """
        why = _required(reason)
        with self._database.write() as connection:
            if not self._step_back(connection, Deed.ROLLED_BACK, actor, why, at):
                raise LedgerRefuses("No bundle served before this one.")
            return newest_line(connection)

    def refuse(self, digest: str, actor: str, reason: str, at: float) -> bool:
        """Note that a bundle cannot serve; where it was to serve, what served before does again.

        Return whether something does.
        """
        with self._database.write() as connection:
            connection.execute(
                update(model)
                .where(model.c.digest == digest)
                .values(state=ModelState.REFUSED, reason=cut(reason))
            )
            last = last_line(connection)
            if last is None or last.digest != digest:
                version = self._model_of(connection, digest).version
                self._audit.append(
                    actor, Action.MODEL_REFUSED, version, {"reason": cut(reason)}, at=at
                )
                return last is not None
            return self._step_back(connection, Deed.REFUSED, actor, cut(reason), at)

    def restorable(self) -> Promotion | None:
        """Return the line whose bundle a roll-back would let serve, None where there is none."""
        with self._database.read() as connection:
            line = self._before(connection)
            return None if line is None else to_promotion(line)

    def _step_back(
        self, connection: Connection, deed: Deed, actor: str, reason: str, at: float
    ) -> bool:
        line = self._before(connection)
        if line is None:
            return False
        served = self._model(connection, line.model_id)
        self._append(connection, served, deed, actor, reason, at, line.back_to)
        return True

    def _before(self, connection: Connection) -> AnyRow | None:
        """Follow `back_to` to the first bundle that may serve."""
        line = last_line(connection)
        while line is not None and line.back_to is not None:
            line = connection.execute(promotions().where(promotion.c.id == line.back_to)).one()
            if line.state == ModelState.REGISTERED:
                return line
        return None

    def _append(
        self,
        connection: Connection,
        which: Model,
        deed: Deed,
        actor: str,
        reason: str,
        at: float,
        back_to: int | None,
    ) -> None:
        values = {"model_id": which.id, "deed": deed, "actor": actor, "reason": reason, "at": at}
        connection.execute(insert(promotion).values(**values, back_to=back_to))
        self._audit.append(actor, _ACTIONS[deed], which.version, {"reason": reason}, at=at)

    # -- thresholds --------------------------------------------------------------------------

    def thresholds(self, digest: str) -> dict[str, float]:
        """Return the thresholds in force for a bundle, of every finding. Raises NotFound."""
        with self._database.read() as connection:
            own = self._model_of(connection, digest).thresholds
            return {**own, **overrides(connection, digest)}

    def set_threshold(
        self, digest: str, finding: str, value: float | None, actor: str, reason: str, at: float
    ) -> ThresholdChange:
        """Change a finding's threshold from now on; None puts the bundle's own back.

        Raises NotFound; and LedgerRefuses where the value is no probability above 0, or no reason
        is given.
        """
        own = self.check_threshold(digest, finding, value)
        why = _required(reason)
        with self._database.write() as connection:
            connection.execute(
                insert(threshold).values(
                    digest=digest, finding=finding, value=value, actor=actor,
                    reason=why, at=at,
                )
            )  # fmt: skip
            changed = {"before": own[finding], "after": value or "the bundle's", "reason": why}
            self._audit.append(
                actor, Action.THRESHOLD_CHANGED, f"{digest[:12]} {finding}", changed, at=at
            )
        return ThresholdChange(digest, finding, value, actor, why, at)

    def check_threshold(self, digest: str, finding: str, value: float | None) -> dict[str, float]:
        """Return the thresholds in force where this one could be set. Raises as it does."""
        own = self.thresholds(digest)
        if finding not in own:
            known = ", ".join(own)
            raise NotFound(f'The bundle has no finding "{finding}". It has: {known}.')
        if value is not None and not 0 < value <= 1:
            raise LedgerRefuses(
                f"A threshold is a probability above 0 and at most 1. Received: {value}."
            )
        return own

    def threshold_history(self, digest: str, limit: int = 200) -> tuple[ThresholdChange, ...]:
        """Return a bundle's changes, the newest first."""
        query = (
            select(threshold)
            .where(threshold.c.digest == digest)
            .order_by(threshold.c.id.desc())
            .limit(limit)
        )
        with self._database.read() as connection:
            return tuple(
                ThresholdChange(r.digest, r.finding, r.value, r.actor, r.reason, r.at)
                for r in connection.execute(query)
            )

    # ----------------------------------------------------------------------------------------

    def _model(self, connection: Connection, model_id: int) -> Model:
        return to_model(connection.execute(select(model).where(model.c.id == model_id)).one())

    def _model_of(self, connection: Connection, digest: str) -> Model:
        row = connection.execute(select(model).where(model.c.digest == digest)).first()
        if row is None:
            raise NotFound(f"There is no bundle {digest[:12]}.")
        return to_model(row)

    def _registered(self, connection: Connection, digest: str) -> Model:
        found = self._model_of(connection, digest)
        if found.state is ModelState.REFUSED:
            raise LedgerRefuses(f"{found.version} was refused: {found.reason} Add it again.")
        return found


def _names(one: Model) -> set[str]:
    return {one.version, one.version.replace(" ", "-"), one.version.split(" ")[-1], one.digest}


def _required(reason: str) -> str:
    if not reason.strip():
        raise LedgerRefuses(NO_REASON)
    return cut(reason.strip())
