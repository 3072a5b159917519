"""The history names a decision's listener by that word."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Rename the column; SQLite does so in indexes and triggers, too (since 3.25)."""
    op.execute(sa.text("ALTER TABLE decisions RENAME COLUMN door TO listener"))
