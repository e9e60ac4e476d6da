"""Who may use the service, and what they did.

Of a session and of a token the SHA-256 alone is kept: both are random, so that a fast hash will do.
"""

from __future__ import annotations

from sqlalchemy import (
    DDL,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
)

from storage.people import Role
from storage.schema.base import metadata, state, time

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("login", String(64), nullable=False),  # lower case
    Column("name", String(128), nullable=False),
    Column("person_name", String(64), nullable=False),  # VR PN
    Column("organization", String(64), nullable=False),
    state("role", Role),
    Column("blinded", Boolean, nullable=False),
    Column("password_hash", String(255)),  # argon2id; none: signs in by the provider
    Column("issuer", String(255)),  # of OpenID Connect
    Column("subject", String(255)),
    time("created_at"),
    time("disabled_at", nullable=True),
    UniqueConstraint("login"),
    UniqueConstraint("issuer", "subject"),
)

session = Table(
    "session",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("token_sha256", String(64), nullable=False),
    Column("account_id", ForeignKey("account.id"), nullable=False),
    time("created_at"),
    time("seen_at"),
    Column("address", String(64), nullable=False),
    Column("filters", Text, nullable=False, server_default=""),  # of a page, as JSON
    Column("told", String(255), nullable=False, server_default=""),  # for the next page to say
    UniqueConstraint("token_sha256"),
    Index(None, "account_id"),
    Index(None, "seen_at"),
)

api_token = Table(
    "api_token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("start", String(16), nullable=False),
    Column("token_sha256", String(64), nullable=False),
    Column("account_id", ForeignKey("account.id"), nullable=False),
    Column("scopes", String(255), nullable=False),  # separated by spaces
    time("created_at"),
    time("expires_at", nullable=True),
    time("used_at", nullable=True),
    time("revoked_at", nullable=True),
    UniqueConstraint("token_sha256"),
    Index(None, "account_id"),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # without a gap, from 1
    time("at"),
    Column("actor", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("sha256", String(64), nullable=False),  # of the row before and of this one
    Index(None, "at"),
    Index(None, "actor", "id"),
    Index(None, "action", "id"),
    Index(None, "subject", "id"),
)

# How far the trail was checked, and sent.
audit_mark = Table(
    "audit_mark",
    metadata,
    Column("name", String(16), primary_key=True),  # a Mark
    Column("row_id", Integer, nullable=False),  # the last that it covers, 0 for none
    Column("sha256", String(64), nullable=False),  # which that row had
    time("at"),
    Column("broken", Integer),  # the row that was found not to be what was written
)

# The trail is appended to and never changed; the chain of hashes shows who got around this.
APPEND_ONLY = {
    "sqlite": (
        "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit"
        " BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END",
        "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit"
        " BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$",
        "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()",
    ),
}
for dialect, statements in APPEND_ONLY.items():
    for statement in statements:
        guard = DDL(statement).execute_if(dialect=dialect)  # type: ignore[no-untyped-call]
        event.listen(audit, "after_create", guard)
