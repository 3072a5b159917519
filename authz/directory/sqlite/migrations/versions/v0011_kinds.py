"""Registrations of certificates, keys and identities; which kinds an organization allows; what was last seen; audit.

What a report or a look-up reads of a leaf is in columns: `authz.directory.sqlite.leaf_fill` fills those of the
registrations that are there, in transactions of its own. An issuer is a Name in DER, in every table but `fetched_crls`.
"""

from __future__ import annotations

from itertools import combinations

import sqlalchemy as sa
from alembic import op

from authz.directory.sqlite.migrations.versions import v0010_row_log as row_log

revision = "0011"
down_revision = "0010"

KINDS = ("certificate", "key", "identity")
ALLOWED = [" ".join(kinds) for count in (1, 2, 3) for kinds in combinations(KINDS, count)]


def _one_of(values: list[str] | tuple[str, ...]) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"IN ({listed})"


# What is short stands before the DER, which may continue on other pages.
REGISTRATIONS = f"""
    CREATE TABLE new_registrations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        organization_id INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        kind VARCHAR NOT NULL DEFAULT 'certificate' CHECK (kind {_one_of(KINDS)}),
        label VARCHAR NOT NULL CHECK (length(label) <= 64),
        valid_from BIGINT,
        valid_until BIGINT,
        retired_at BIGINT,
        created_at BIGINT NOT NULL,
        identity VARCHAR,
        sha256 BLOB,
        tbs_sha256 BLOB,
        spki_sha256 BLOB,
        anchor_sha256 BLOB,
        chain_sha256 BLOB,
        authority_key_id BLOB,
        not_before BIGINT,
        not_after BIGINT,
        serial BLOB,
        issuer BLOB,
        der BLOB,
        chain BLOB,
        CONSTRAINT ck_registrations_what CHECK (CASE kind
            WHEN 'certificate' THEN sha256 IS NOT NULL AND der IS NOT NULL AND chain IS NOT NULL
            WHEN 'key' THEN spki_sha256 IS NOT NULL
            ELSE identity IS NOT NULL AND anchor_sha256 IS NOT NULL END)
    )
"""
KEPT = (
    "id, organization_id, user_id, label, valid_from, valid_until, retired_at, created_at, identity, sha256, "
    "spki_sha256, anchor_sha256, authority_key_id, not_after, issuer, der, chain"
)

STATEMENTS = (
    REGISTRATIONS,
    f"INSERT INTO new_registrations ({KEPT}, kind) "  # noqa: S608 - our names
    f"SELECT {KEPT}, CASE kind WHEN 'leaf' THEN 'certificate' ELSE kind END FROM registrations",
    # An id that was used once is never used again.
    "DELETE FROM sqlite_sequence WHERE name = 'new_registrations'",
    "INSERT INTO sqlite_sequence (name, seq) "
    "SELECT 'new_registrations', seq FROM sqlite_sequence WHERE name = 'registrations'",
    "DROP TABLE registrations",
    "ALTER TABLE new_registrations RENAME TO registrations",
    # The id at the end serves lists, whose order it is, and the other end of them.
    "CREATE INDEX ix_registrations_organization_id_id ON registrations (organization_id, id)",
    "CREATE INDEX ix_registrations_user_id ON registrations (user_id)",
    "CREATE INDEX ix_registrations_sha256 ON registrations (sha256)",
    "CREATE INDEX ix_registrations_organization_id_sha256 ON registrations (organization_id, sha256)",
    "CREATE INDEX ix_registrations_organization_id_tbs_sha256 ON registrations (organization_id, tbs_sha256)",
    "CREATE INDEX ix_registrations_organization_id_spki_sha256 ON registrations (organization_id, spki_sha256)",
    "CREATE INDEX ix_registrations_organization_id_identity ON registrations (organization_id, identity) "
    "WHERE identity IS NOT NULL",
    # By end, for what expires; by issuer and serial number, for what a CRL lists.
    "CREATE INDEX ix_registrations_organization_id_not_after ON registrations (organization_id, not_after)",
    "CREATE INDEX ix_registrations_organization_id_valid_until ON registrations (organization_id, valid_until) "
    "WHERE valid_until IS NOT NULL",
    "CREATE INDEX ix_registrations_organization_id_retired_at ON registrations (organization_id, retired_at) "
    "WHERE retired_at IS NOT NULL",
    "CREATE INDEX ix_registrations_issuer_serial ON registrations (issuer, serial)",
    "CREATE INDEX ix_registrations_chain_sha256 ON registrations (chain_sha256) WHERE chain_sha256 IS NOT NULL",
    # One that was retired does not stand in the way of a later one.
    "CREATE UNIQUE INDEX uq_registrations_key ON registrations (organization_id, spki_sha256, user_id) "
    "WHERE kind = 'key' AND retired_at IS NULL",
    "CREATE UNIQUE INDEX uq_registrations_identity ON registrations (organization_id, anchor_sha256, identity) "
    "WHERE kind = 'identity' AND retired_at IS NULL",
    f"ALTER TABLE organizations ADD COLUMN binding_kinds VARCHAR NOT NULL DEFAULT 'certificate' "
    f"CHECK (binding_kinds {_one_of(ALLOWED)})",
    "CREATE INDEX ix_anchors_organization_id_id ON anchors (organization_id, id)",
    "CREATE INDEX ix_intermediates_organization_id_id ON intermediates (organization_id, id)",
    "CREATE INDEX ix_decisions_user_name_at ON decisions (user_name, at)",
    "ALTER TABLE crls ADD COLUMN issuer BLOB",
    "CREATE INDEX ix_crls_issuer ON crls (issuer)",
    "CREATE INDEX ix_crls_signer ON crls (signer)",
    # Registrations behind this id were not read into these columns yet; NULL once all were.
    "ALTER TABLE directory_state ADD COLUMN unread_after INTEGER",
    "UPDATE directory_state SET unread_after = 0 "
    "WHERE EXISTS (SELECT 1 FROM registrations) OR EXISTS (SELECT 1 FROM crls)",
    """
    CREATE TABLE last_seen (
        organization_id INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
        user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
        sha256 BLOB NOT NULL,
        first_seen BIGINT NOT NULL,
        last_seen BIGINT NOT NULL,
        not_after BIGINT NOT NULL,
        issuer BLOB NOT NULL,
        spki_sha256 BLOB NOT NULL,
        anchor_sha256 BLOB NOT NULL,
        path BLOB NOT NULL,
        listener VARCHAR NOT NULL,
        matched VARCHAR NOT NULL DEFAULT '',
        refused_by VARCHAR NOT NULL DEFAULT '',
        refusals INTEGER NOT NULL DEFAULT 0,
        with_others BOOLEAN NOT NULL DEFAULT 0,
        PRIMARY KEY (user_id, sha256)
    )
    """,
    "CREATE INDEX ix_last_seen_organization_id_last_seen ON last_seen (organization_id, last_seen)",
    "CREATE INDEX ix_last_seen_organization_id_not_after ON last_seen (organization_id, not_after)",
    "CREATE INDEX ix_last_seen_path_user_id ON last_seen (path, user_id)",
    "CREATE INDEX ix_last_seen_sha256 ON last_seen (sha256)",
    """
    CREATE TABLE seen_cas (
        organization_id INTEGER NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
        sha256 BLOB NOT NULL,
        der BLOB NOT NULL,
        last_seen BIGINT NOT NULL,
        PRIMARY KEY (organization_id, sha256)
    )
    """,
    """
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at BIGINT NOT NULL,
        actor VARCHAR NOT NULL,
        via VARCHAR NOT NULL,
        action VARCHAR NOT NULL,
        object VARCHAR NOT NULL,
        organization VARCHAR,
        "before" VARCHAR,
        "after" VARCHAR,
        apply_id VARCHAR,
        revision_before INTEGER NOT NULL,
        revision_after INTEGER NOT NULL,
        previous BLOB NOT NULL,
        hash BLOB NOT NULL
    )
    """,
    "CREATE INDEX ix_audit_at ON audit (at)",
    "CREATE INDEX ix_audit_organization ON audit (organization)",
)

REGISTERED = row_log.Numbered(
    "registrations",
    "{row}.kind",
    key="CASE {row}.kind WHEN 'certificate' THEN {row}.sha256 WHEN 'key' THEN {row}.spki_sha256 "
    "ELSE {row}.identity END",
    mark="revision",
    # A leaf in another DER with the same signed part is the same certificate; and what a CRL says of a certificate, it
    # says of its key.
    also=(("'tbs'", "{row}.tbs_sha256"), ("'key'", "{row}.spki_sha256")),
    indexes=(
        row_log.Index(("organization_id", "spki_sha256", "user_id"), "{row}.kind = 'key' AND {row}.retired_at IS NULL"),
        row_log.Index(
            ("organization_id", "anchor_sha256", "identity"), "{row}.kind = 'identity' AND {row}.retired_at IS NULL"
        ),
    ),
)
NUMBERED = (row_log.NUMBERED[0], REGISTERED)

# The log goes on behind a row of no kind, for which every reader reads everything again.
ANEW = (
    "UPDATE directory_state SET revision = revision + 1 WHERE id = 1",
    "INSERT INTO directory_changes (revision, lineage, at) "  # noqa: S608 - our names
    f"SELECT revision, lineage, {row_log.NOW} FROM directory_state WHERE id = 1",
)


def upgrade() -> None:
    """Make the tables, columns and indexes, and the triggers of the two tables that have new columns."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
    connection = op.get_bind()
    for event in ("insert", "update", "delete", "displaced_by_insert", "displaced_by_update"):
        connection.exec_driver_sql(f"DROP TRIGGER number_organizations_{event}")
    others = connection.execute(sa.text(row_log.OTHERS)).scalar_one()
    for numbered in NUMBERED:
        for statement in row_log.triggers(numbered, row_log.BY_HAND.format(others=others)):
            op.execute(sa.text(statement))
    for statement in ANEW:
        op.execute(sa.text(statement))
