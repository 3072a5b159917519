"""The claim that holds the audience of an organization's tokens, numbered like its other settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    "ALTER TABLE organizations ADD COLUMN token_audience_claim VARCHAR DEFAULT 'aud' NOT NULL",
    """
    CREATE TRIGGER number_organizations_token_audience_claim AFTER UPDATE OF token_audience_claim ON organizations
    BEGIN UPDATE organizations SET token_keys = token_keys WHERE id = NEW.id; END
    """,
)


def upgrade() -> None:
    """Add the column and its trigger."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
