"""The sources of CRLs whose CA counts anew, each with the moment up to which numbers do not count."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Make the table; services of the twelfth version do without it."""
    op.execute(
        'CREATE TABLE renumbered_sources (location VARCHAR COLLATE "C" NOT NULL PRIMARY KEY, until BIGINT NOT NULL)'
    )
