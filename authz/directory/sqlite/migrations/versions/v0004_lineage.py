"""A revision names a state: a random lineage with each change, and a log of the states that were before.

What SQLite changes without the triggers of the first version is numbered too: rows that `OR REPLACE` displaces from
another organization (no DELETE trigger fires for them), and organizations that are given another id.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KEPT_SECONDS = 3_600
"""How long a state stays in the log: a worker that was stopped for ten minutes finds the one it knew."""

KEPT_CHANGES = 100_000
"""Rows of the log, some 5 MB. A reader that falls behind its beginning reads everything anew."""

NOW = "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
BUMP = "UPDATE directory_state SET revision = revision + 1{} WHERE id = 1;"
CURRENT = "(SELECT revision FROM directory_state WHERE id = 1)"
ORGANIZATIONS = ", organizations_revision = revision + 1"
RISE = "SELECT RAISE(ABORT, 'revisions are made by triggers, and only rise');"
ANEW = f"UPDATE organizations SET revision = {CURRENT}, trust_revision = {CURRENT} WHERE id = NEW.id;"  # noqa: S608 - our names

# An `UPDATE OF revision`, so that the lineage set here fires it no second time. Two of the oldest rows are looked at
# with each change: so the log shrinks, without a scan. A clock that was set back keeps rows for longer, not for less.
NAME_STATE = f"""
    UPDATE directory_state SET lineage = randomblob(16) WHERE id = 1;
    INSERT INTO directory_changes (revision, lineage, at)
        SELECT revision, lineage, {NOW} FROM directory_state WHERE id = 1;
    DELETE FROM directory_changes WHERE id IN (SELECT id FROM directory_changes ORDER BY id LIMIT 2)
        AND (at < {NOW} - {KEPT_SECONDS} * 1000000
            OR id <= (SELECT max(id) FROM directory_changes) - {KEPT_CHANGES});
"""  # noqa: S608 - our names

STATEMENTS = (
    "ALTER TABLE directory_state ADD COLUMN lineage BLOB NOT NULL DEFAULT x''",
    """
    CREATE TABLE directory_changes (
        id INTEGER PRIMARY KEY,
        revision INTEGER NOT NULL,
        lineage BLOB NOT NULL,
        at BIGINT NOT NULL
    )
    """,
    "CREATE INDEX ix_directory_changes_revision ON directory_changes (revision)",
    f"CREATE TRIGGER name_state AFTER UPDATE OF revision ON directory_state BEGIN {NAME_STATE} END",
    # Among the copies of this file that are brought up to date, this one differs from the others from here on.
    BUMP.format(""),
    # A number that was used already would tag other rows.
    f"CREATE TRIGGER rise_state BEFORE UPDATE OF revision ON directory_state "
    f"WHEN NEW.revision <= OLD.revision BEGIN {RISE} END",
    f"CREATE TRIGGER keep_state BEFORE DELETE ON directory_state BEGIN {RISE} END",
    f"CREATE TRIGGER one_state BEFORE INSERT ON directory_state BEGIN {RISE} END",
    f"CREATE TRIGGER rise_organization BEFORE UPDATE OF revision, trust_revision ON organizations "
    f"WHEN NEW.revision < OLD.revision OR NEW.trust_revision < OLD.trust_revision BEGIN {RISE} END",
    # A row inserted in the place of another begins with the revisions 0, which looks like no change.
    "DROP TRIGGER number_organizations_insert",
    f"CREATE TRIGGER number_organizations_insert AFTER INSERT ON organizations "
    f"BEGIN {BUMP.format(ORGANIZATIONS)} {ANEW} END",
    # Not `UPDATE OF id`: who writes `SET rowid = 5` changes the id as well.
    f"CREATE TRIGGER number_organizations_move AFTER UPDATE ON organizations WHEN NEW.id <> OLD.id "
    f"BEGIN {BUMP.format(ORGANIZATIONS)} {ANEW} END",
)

DISPLACED = "(SELECT organization_id FROM {} WHERE id = NEW.id AND organization_id <> NEW.organization_id)"


def upgrade() -> None:
    """Make column, log and triggers; the state is named by the first one that fires."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
    for table in ("users", "registrations"):
        for event, moved in (("INSERT", ""), ("UPDATE", "NEW.id <> OLD.id AND ")):
            op.execute(_displacing(table, event, moved))


def _displacing(table: str, event: str, moved: str) -> sa.TextClause:
    found = DISPLACED.format(table)
    mark = f"UPDATE organizations SET revision = {CURRENT} WHERE id = {found};"  # noqa: S608 - our names
    return sa.text(
        f"CREATE TRIGGER number_{table}_displaced_by_{event.lower()} BEFORE {event} ON {table} "
        f"WHEN {moved}EXISTS {found} BEGIN {BUMP.format('')} {mark} END"
    )
