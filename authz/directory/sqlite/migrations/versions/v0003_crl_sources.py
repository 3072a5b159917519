"""Where CRLs come from, as the service tells it, and the key that signed those which operators add."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "ALTER TABLE crls ADD COLUMN signer_key BLOB",
    """
    CREATE TABLE crl_sources (
        location VARCHAR NOT NULL PRIMARY KEY,
        kind VARCHAR NOT NULL CHECK (kind IN ('file', 'url', 'point')),
        tried_at BIGINT,
        accepted_at BIGINT,
        next_at BIGINT,
        failures INTEGER NOT NULL,
        outcome VARCHAR NOT NULL,
        detail VARCHAR NOT NULL,
        asked_at BIGINT
    )
    """,
    """
    CREATE TABLE fetched_crls (
        name VARCHAR NOT NULL PRIMARY KEY,
        location VARCHAR NOT NULL,
        sha256 BLOB NOT NULL,
        signer BLOB NOT NULL,
        issuer VARCHAR NOT NULL,
        number VARCHAR,
        delta BOOLEAN NOT NULL,
        entries INTEGER NOT NULL,
        this_update BIGINT NOT NULL,
        next_update BIGINT,
        fetched_at BIGINT NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
