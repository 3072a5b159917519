"""The states of CRL sources by replica, for a directory that several services share; they are written anew by each.

And the sources whose CAs count anew; the history may keep allowed requests, and what ends is read from an index alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS = (
    "DROP TABLE crl_sources",
    """
    CREATE TABLE crl_sources (
        replica INTEGER NOT NULL DEFAULT 0,
        location VARCHAR NOT NULL,
        kind VARCHAR NOT NULL CHECK (kind IN ('file', 'url', 'point')),
        tried_at BIGINT,
        accepted_at BIGINT,
        next_at BIGINT,
        failures INTEGER NOT NULL,
        outcome VARCHAR NOT NULL,
        detail VARCHAR NOT NULL,
        asked_at BIGINT,
        PRIMARY KEY (replica, location)
    )
    """,
    "DROP TABLE fetched_crls",
    """
    CREATE TABLE fetched_crls (
        replica INTEGER NOT NULL DEFAULT 0,
        name VARCHAR NOT NULL,
        location VARCHAR NOT NULL,
        sha256 BLOB NOT NULL,
        signer BLOB NOT NULL,
        issuer VARCHAR NOT NULL,
        number VARCHAR,
        delta BOOLEAN NOT NULL,
        entries INTEGER NOT NULL,
        this_update BIGINT NOT NULL,
        next_update BIGINT,
        fetched_at BIGINT NOT NULL,
        PRIMARY KEY (replica, name)
    )
    """,
    """
    CREATE TABLE renumbered_sources (
        location VARCHAR NOT NULL PRIMARY KEY,
        until BIGINT NOT NULL
    )
    """,
    "DROP INDEX ix_registrations_organization_id_not_after",
    "CREATE INDEX ix_registrations_organization_id_not_after ON registrations "
    "(organization_id, not_after, user_id, sha256, kind, valid_until, retired_at)",
)


def upgrade() -> None:
    """Make the tables anew: both, and the decisions with what was in them."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
    _allow()


def _allow() -> None:
    """SQLite changes no CHECK: the table is made again, with the indexes and triggers that went with it."""
    connection = op.get_bind()
    query = "SELECT type, sql FROM sqlite_master WHERE tbl_name = 'decisions' AND sql IS NOT NULL"
    made = connection.execute(sa.text(query)).all()
    [table] = [row.sql for row in made if row.type == "table"]
    for statement in (
        "CREATE TEMPORARY TABLE kept_decisions AS SELECT * FROM decisions",
        "DROP TABLE decisions",
        table.replace("'observed')", "'observed', 'allowed')"),
        "INSERT INTO decisions SELECT * FROM kept_decisions",
        "DROP TABLE kept_decisions",
        *(row.sql for row in made if row.type != "table"),
    ):
        connection.exec_driver_sql(statement)
