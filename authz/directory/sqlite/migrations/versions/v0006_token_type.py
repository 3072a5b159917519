"""The type that an organization demands of its tokens, numbered like its other settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = (
    "ALTER TABLE organizations ADD COLUMN token_type VARCHAR",
    # By the trigger of the columns that were there before, whatever it does: it asks for the column, not for a change.
    """
    CREATE TRIGGER number_organizations_token_type AFTER UPDATE OF token_type ON organizations
    BEGIN UPDATE organizations SET token_keys = token_keys WHERE id = NEW.id; END
    """,
)


def upgrade() -> None:
    """Add the column and its trigger."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
