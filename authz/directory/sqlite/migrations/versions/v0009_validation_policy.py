"""What an organization's paths must satisfy, beside its anchors, and numbered like them: a part of its trust."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

COLUMNS = {
    "path_algorithms": "VARCHAR NOT NULL DEFAULT 'default'",
    "path_min_rsa_bits": "INTEGER NOT NULL DEFAULT 2048",
    "path_policies": "VARCHAR NOT NULL DEFAULT ''",
    "path_explicit_policy": "BOOLEAN NOT NULL DEFAULT 0",
    "path_inhibit_mapping": "BOOLEAN NOT NULL DEFAULT 0",
    "path_inhibit_any_policy": "BOOLEAN NOT NULL DEFAULT 0",
    "path_purpose": "VARCHAR NOT NULL DEFAULT '1.3.6.1.5.5.7.3.2'",
}

NUMBER = """
    UPDATE directory_state SET revision = revision + 1, organizations_revision = revision + 1 WHERE id = 1;
    UPDATE organizations SET trust_revision = (SELECT revision FROM directory_state WHERE id = 1) WHERE id = NEW.id;
"""

STATEMENTS = (
    *(f"ALTER TABLE organizations ADD COLUMN {name} {kind}" for name, kind in COLUMNS.items()),
    # Not the state's trust_revision: that would make every other organization's trust be read again.
    f"CREATE TRIGGER number_organizations_path AFTER UPDATE OF {', '.join(COLUMNS)} ON organizations "
    f"BEGIN {NUMBER} END",
)


def upgrade() -> None:
    """Add the columns and their trigger."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
