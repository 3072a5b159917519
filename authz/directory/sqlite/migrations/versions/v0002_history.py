"""The history: what was refused, and what `observe` let pass. No trigger numbers it, for no decision looks at it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """
    CREATE TABLE presentations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        sha256 BLOB NOT NULL UNIQUE,
        headers BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE decisions (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        decision_id VARCHAR NOT NULL UNIQUE,
        at BIGINT NOT NULL,
        door VARCHAR NOT NULL,
        outcome VARCHAR NOT NULL CHECK (outcome IN ('denied', 'observed')),
        reason VARCHAR NOT NULL,
        detail VARCHAR NOT NULL,
        host VARCHAR NOT NULL,
        method VARCHAR NOT NULL,
        target VARCHAR NOT NULL,
        organization VARCHAR NOT NULL,
        user_name VARCHAR NOT NULL,
        confirmation BLOB,
        certificate BLOB,
        subject VARCHAR NOT NULL,
        presentation_id INTEGER REFERENCES presentations (id)
    )
    """,
    "CREATE INDEX ix_decisions_organization_id ON decisions (organization, id)",
    "CREATE INDEX ix_decisions_at ON decisions (at)",
    "CREATE INDEX ix_decisions_presentation_id ON decisions (presentation_id)",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
