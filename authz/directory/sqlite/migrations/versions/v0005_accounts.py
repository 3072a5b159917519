"""The history by organization and account: ids that no later organization has, weights, and counted repeats."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

UNUSED = "NOT EXISTS (SELECT 1 FROM decisions WHERE presentation_id = {})"
FORGET = f"DELETE FROM presentations WHERE id = OLD.presentation_id AND {UNUSED.format('OLD.presentation_id')};"  # noqa: S608 - our names

STATEMENTS = (
    "ALTER TABLE decisions ADD COLUMN organization_id INTEGER",
    "ALTER TABLE decisions ADD COLUMN proven BOOLEAN NOT NULL DEFAULT 0",
    "ALTER TABLE decisions ADD COLUMN account VARCHAR NOT NULL DEFAULT ''",
    "ALTER TABLE decisions ADD COLUMN weight INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE decisions ADD COLUMN repeats INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE decisions ADD COLUMN first_at BIGINT",
    "ALTER TABLE decisions ADD COLUMN kind VARCHAR",
    # Whose a decision of an earlier version is, only the name says.
    """
    UPDATE decisions SET
        organization_id = (SELECT id FROM organizations WHERE name = decisions.organization),
        proven = user_name <> '' AND reason <> 'user_unknown',
        account = CASE WHEN user_name <> '' AND reason <> 'user_unknown' THEN user_name ELSE reason END,
        weight = 1 + coalesce((SELECT length(headers) FROM presentations WHERE id = presentation_id), 0) / 4096
    """,
    "DELETE FROM decisions WHERE organization <> '' AND organization_id IS NULL",
    f"DELETE FROM presentations WHERE {UNUSED.format('presentations.id')}",  # noqa: S608 - our names
    "DROP INDEX ix_decisions_organization_id",
    "CREATE INDEX ix_decisions_organization_id_at ON decisions (organization_id, at)",
    "CREATE INDEX ix_decisions_proven_organization_id_account_id_weight "
    "ON decisions (proven, organization_id, account, id, weight)",
    "CREATE UNIQUE INDEX uq_decisions_kind ON decisions (kind)",
    # Triggers, as for the revisions: foreign keys may be off, and are where somebody deletes by the plain shell.
    "CREATE TRIGGER forget_organization AFTER DELETE ON organizations "
    "BEGIN DELETE FROM decisions WHERE organization_id = OLD.id; END",
    f"CREATE TRIGGER forget_presentation AFTER DELETE ON decisions BEGIN {FORGET} END",
    f"CREATE TRIGGER forget_presentation_before AFTER UPDATE OF presentation_id ON decisions BEGIN {FORGET} END",
)


def upgrade() -> None:
    """Make columns, indexes and triggers; what is there keeps its organization, as far as there is one of its name."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
