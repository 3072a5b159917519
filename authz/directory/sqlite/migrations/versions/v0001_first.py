"""The first schema: tables, and the triggers that number every change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ENFORCEMENT = "IN ('off', 'observe', 'required')"

TABLES = (
    """
    CREATE TABLE directory_state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        revision INTEGER NOT NULL DEFAULT 0,
        organizations_revision INTEGER NOT NULL DEFAULT 0,
        trust_revision INTEGER NOT NULL DEFAULT 0,
        crls_revision INTEGER NOT NULL DEFAULT 0
    )
    """,
    f"""
    CREATE TABLE organizations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name VARCHAR NOT NULL UNIQUE,
        active BOOLEAN NOT NULL CHECK (active IN (0, 1)),
        binding_scope VARCHAR NOT NULL CHECK (binding_scope IN ('user', 'organization')),
        default_enforcement VARCHAR NOT NULL CHECK (default_enforcement {ENFORCEMENT}),
        token_issuer VARCHAR,
        token_audience VARCHAR,
        token_user_claim VARCHAR NOT NULL,
        token_organization_claim VARCHAR,
        token_keys VARCHAR,
        revision INTEGER NOT NULL DEFAULT 0,
        trust_revision INTEGER NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE hosts (
        host VARCHAR PRIMARY KEY,
        organization_id INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE
    )
    """,
    """
    CREATE TABLE anchors (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        organization_id INTEGER REFERENCES organizations (id) ON DELETE CASCADE,
        sha256 BLOB NOT NULL,
        der BLOB NOT NULL,
        UNIQUE (organization_id, sha256)
    )
    """,
    """
    CREATE TABLE intermediates (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        organization_id INTEGER REFERENCES organizations (id) ON DELETE CASCADE,
        sha256 BLOB NOT NULL,
        der BLOB NOT NULL,
        UNIQUE (organization_id, sha256)
    )
    """,
    f"""
    CREATE TABLE users (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        organization_id INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
        name VARCHAR NOT NULL,
        enforcement VARCHAR NOT NULL CHECK (enforcement {ENFORCEMENT}),
        active BOOLEAN NOT NULL CHECK (active IN (0, 1)),
        UNIQUE (organization_id, name)
    )
    """,
    """
    CREATE TABLE registrations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        organization_id INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        sha256 BLOB NOT NULL,
        der BLOB NOT NULL,
        chain BLOB NOT NULL,
        label VARCHAR NOT NULL CHECK (length(label) <= 64),
        valid_from BIGINT,
        valid_until BIGINT,
        retired_at BIGINT,
        created_at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX ix_registrations_organization_id_sha256 ON registrations (organization_id, sha256)",
    "CREATE INDEX ix_registrations_sha256 ON registrations (sha256)",
    "CREATE INDEX ix_registrations_user_id ON registrations (user_id)",
    """
    CREATE TABLE crls (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 BLOB NOT NULL UNIQUE,
        signer BLOB NOT NULL,
        der BLOB NOT NULL,
        added_at BIGINT NOT NULL
    )
    """,
    # SQLite's UNIQUE takes two NULLs for different, but a shared certificate is shared once.
    "CREATE UNIQUE INDEX uq_anchors_shared ON anchors (sha256) WHERE organization_id IS NULL",
    "CREATE UNIQUE INDEX uq_intermediates_shared ON intermediates (sha256) WHERE organization_id IS NULL",
)

STATE = "UPDATE directory_state SET revision = revision + 1{} WHERE id = 1;"
CURRENT = "(SELECT revision FROM directory_state WHERE id = 1)"

# Table, the columns whose change counts (all if empty), the state's column, the organization's column.
NUMBERED = (
    (
        "organizations",
        "name, active, binding_scope, default_enforcement, token_issuer, token_audience, token_user_claim, "
        "token_organization_claim, token_keys",
        "organizations_revision",
        None,
    ),
    ("hosts", "", "organizations_revision", None),
    ("users", "", None, "revision"),
    ("registrations", "", None, "revision"),
    ("anchors", "", "trust_revision", "trust_revision"),
    ("intermediates", "", "trust_revision", "trust_revision"),
    ("crls", "", "crls_revision", None),
)


def upgrade() -> None:
    """Make the tables, the one row of the state, and the triggers."""
    for statement in TABLES:
        op.execute(sa.text(statement))
    op.execute(sa.text("INSERT INTO directory_state (id) VALUES (1)"))
    for table, columns, state, organization in NUMBERED:
        for event, rows in (("INSERT", ("NEW",)), ("DELETE", ("OLD",)), ("UPDATE", ("OLD", "NEW"))):
            of = f" OF {columns}" if columns and event == "UPDATE" else ""
            op.execute(_trigger(f"AFTER {event}{of} ON {table}", f"{table}_{event.lower()}", rows, state, organization))


def _trigger(when: str, name: str, rows: tuple[str, ...], state: str | None, organization: str | None) -> sa.TextClause:
    body = [STATE.format(f", {state} = revision + 1" if state else "")]
    if organization:
        body += [
            f"UPDATE organizations SET {organization} = {CURRENT} WHERE id = {row}.organization_id;"  # noqa: S608 - our names
            for row in rows
        ]
    return sa.text(f"CREATE TRIGGER number_{name} {when} BEGIN {' '.join(body)} END")
