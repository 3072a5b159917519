"""The log of changes names rows: what changed, by organization, kind and key, so that a reader drops that alone.

Every change bumps the revision, and logs at least one row of that revision. A bump that logs none leaves a gap, and a
reader that finds a gap drops everything.

What SQLite changes without any trigger of the row that goes is logged by the row that comes: rows that `OR REPLACE`
displaces, by any key. `organizations` has no list of columns: whatever changes in a row is logged, also a column that
a later version adds.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

KEPT_SECONDS = 3_600
"""How long a change stays in the log: a worker that was stopped for ten minutes finds the state it knew."""

KEPT_CHANGES = 100_000
"""Rows of the log, some 10 MB; a reader never reads as many (`authz.directory.row_log`)."""

NOW = "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
CURRENT = "(SELECT revision FROM directory_state WHERE id = 1)"
LOG = "INSERT INTO directory_changes (revision, lineage, at, organization_id, kind, key)"

# Two of the oldest rows are looked at with each change: so the log shrinks, without a scan. A clock that was set back
# keeps rows for longer, not for less.
NAME_STATE = f"""
    UPDATE directory_state SET lineage = randomblob(16) WHERE id = 1;
    DELETE FROM directory_changes WHERE id IN (SELECT id FROM directory_changes ORDER BY id LIMIT 2)
        AND (at < {NOW} - {KEPT_SECONDS} * 1000000
            OR id <= (SELECT max(id) FROM directory_changes) - {KEPT_CHANGES});
"""  # noqa: S608 - our names

REGISTRATION_COLUMNS = (
    "spki_sha256 BLOB",
    "identity VARCHAR",
    "anchor_sha256 BLOB",
    "not_after BIGINT",
    "issuer BLOB",
    "authority_key_id BLOB",
)

# By which of its columns a registration is looked up.
REGISTRATION_KEY = (
    "CASE {row}.kind WHEN 'leaf' THEN {row}.sha256 WHEN 'key' THEN {row}.spki_sha256 ELSE {row}.identity END"
)


class Index(NamedTuple):
    """A unique index on several columns, of the rows for which `where` holds, `{row}` standing for the row."""

    columns: tuple[str, ...]
    where: str

    def collides(self, table: str) -> str:
        """Whether a row of the table and the new one cannot both be there."""
        alike = (f"{table}.{column} = NEW.{column}" for column in self.columns)
        return " AND ".join([self.where.format(row="NEW"), self.where.format(row=table), *alike])


class Numbered(NamedTuple):
    """How a table's rows are logged, `{row}` standing for the row: its key is what a reader looks it up by.

    `state` and `mark` are the columns of the whole and of the organization that have the revision of the last change.
    `unique` are the columns, and `indexes` the indexes, by which a new row can displace one of another key. `also` are
    further kinds and keys, each logged where its key is not NULL.
    """

    table: str
    kind: str
    organization: str = "{row}.organization_id"
    key: str = "NULL"
    state: str | None = None
    mark: str | None = None
    unique: tuple[str, ...] = ("id",)
    also: tuple[tuple[str, str], ...] = ()
    indexes: tuple[Index, ...] = ()


NUMBERED = (
    Numbered("organizations", "'organization'", "{row}.id", "NULL", "organizations_revision", None, ("id", "name")),
    Numbered("hosts", "'host'", key="{row}.host", state="organizations_revision", unique=("rowid",)),
    Numbered("users", "'user'", key="{row}.name", mark="revision"),
    Numbered("registrations", "{row}.kind", key=REGISTRATION_KEY, mark="revision"),
    Numbered("anchors", "'trust'", state="trust_revision", mark="trust_revision"),
    Numbered("intermediates", "'trust'", state="trust_revision", mark="trust_revision"),
    Numbered("crls", "'crl'", "NULL", "{row}.sha256", state="crls_revision", unique=()),
)

# The log itself sets the revisions of organizations, to `CURRENT`: the services of versions before read them. A
# statement that sets that number by hand may change other columns, too.
BY_HAND = (
    "(NEW.revision, NEW.trust_revision) IS (OLD.revision, OLD.trust_revision) "
    f"OR max(NEW.revision, NEW.trust_revision) <> {CURRENT} OR {{others}}"
)
OTHERS = """
    SELECT group_concat('NEW.' || name || ' IS NOT OLD.' || name, ' OR ') FROM pragma_table_info('organizations')
    WHERE name NOT IN ('revision', 'trust_revision')
"""
ANEW = f"UPDATE organizations SET revision = {CURRENT}, trust_revision = {CURRENT} WHERE id = NEW.id"  # noqa: S608 - our names

PATH = (
    "path_algorithms", "path_min_rsa_bits", "path_policies", "path_explicit_policy", "path_inhibit_mapping",
    "path_inhibit_any_policy", "path_purpose",
)  # fmt: skip
OTHER_PATH = " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in PATH)
MOVED = (
    f"{ANEW} AND NEW.id <> OLD.id; "  # noqa: S608 - our names
    f"UPDATE organizations SET trust_revision = {CURRENT} WHERE id = NEW.id AND ({OTHER_PATH})"
)
"""What its paths must satisfy is a part of its trust."""

STATEMENTS = (
    "ALTER TABLE directory_changes ADD COLUMN organization_id INTEGER",
    "ALTER TABLE directory_changes ADD COLUMN kind VARCHAR",
    "ALTER TABLE directory_changes ADD COLUMN key BLOB",
    "DROP TRIGGER name_state",
    f"CREATE TRIGGER name_state AFTER UPDATE OF revision ON directory_state BEGIN {NAME_STATE} END",
    "CREATE INDEX ix_hosts_organization_id ON hosts (organization_id)",
    "CREATE INDEX ix_organizations_tokens ON organizations (token_issuer, token_organization_claim, token_audience)",
    "ALTER TABLE registrations ADD COLUMN kind VARCHAR NOT NULL DEFAULT 'leaf' "
    "CHECK (kind IN ('leaf', 'key', 'identity'))",
    *(f"ALTER TABLE registrations ADD COLUMN {column}" for column in REGISTRATION_COLUMNS),
)


def upgrade() -> None:
    """Make the columns, and in the place of every trigger that numbers rows those that log them."""
    for statement in STATEMENTS:
        op.execute(sa.text(statement))
    named = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'number\\_%' ESCAPE '\\'"
    for name in op.get_bind().execute(sa.text(named)).scalars().all():
        op.execute(sa.text(f"DROP TRIGGER {name}"))
    others = op.get_bind().execute(sa.text(OTHERS)).scalar_one()
    for numbered in NUMBERED:
        for statement in triggers(numbered, BY_HAND.format(others=others)):
            op.execute(sa.text(statement))


def triggers(numbered: Numbered, by_hand: str) -> list[str]:
    """The statements that make a table's triggers; `by_hand` is when an UPDATE of `organizations` is logged."""
    table, organizations = numbered.table, numbered.table == "organizations"
    made = [
        _trigger(f"number_{table}_insert AFTER INSERT", numbered, ("NEW",), ANEW if organizations else ""),
        _trigger(f"number_{table}_delete AFTER DELETE", numbered, ("OLD",)),
        _trigger(
            f"number_{table}_update AFTER UPDATE",
            numbered,
            ("OLD", "NEW"),
            MOVED if organizations else "",
            when=by_hand if organizations else "",
        ),
    ]
    if numbered.unique:
        by_column = (f"{table}.{column} = NEW.{column}" for column in numbered.unique)
        collides = " OR ".join([*by_column, *(index.collides(table) for index in numbered.indexes)])
        changed = " OR ".join(f"NEW.{column} <> OLD.{column}" for column in numbered.unique)
        made += [
            _displacing(f"number_{table}_displaced_by_insert BEFORE INSERT", numbered, f"({collides})"),
            _displacing(
                f"number_{table}_displaced_by_update BEFORE UPDATE",
                numbered,
                f"{table}.rowid <> OLD.rowid AND ({collides})",
                "" if numbered.indexes else f"({changed}) AND ",
            ),
        ]
    return made


def _trigger(name: str, numbered: Numbered, rows: tuple[str, ...], last: str = "", when: str = "") -> str:
    """Of the rows before and after the change, each is logged; together if both have one key."""
    body = [_bump(numbered), f"{LOG} {' UNION '.join(_logged(numbered, row) for row in rows)};"]
    if numbered.mark:
        owners = ", ".join(f"{row}.organization_id" for row in rows)
        body.append(f"UPDATE organizations SET {numbered.mark} = {CURRENT} WHERE id IN ({owners});")  # noqa: S608 - our names
    body.append(f"{last};" if last else "")
    return f"CREATE TRIGGER {name} ON {numbered.table} {f'WHEN {when} ' if when else ''}BEGIN {' '.join(body)} END"


def _displacing(name: str, numbered: Numbered, collides: str, when: str = "") -> str:
    """`OR REPLACE` fires no DELETE trigger for the row that goes; if the statement fails, nothing of this stays."""
    table = numbered.table
    body = [_bump(numbered), f"{LOG} {_logged(numbered, table, f', {table}', f' AND {collides}')};"]
    if numbered.mark:
        owners = f"SELECT organization_id FROM {table} WHERE {collides}"  # noqa: S608 - our names
        body.append(f"UPDATE organizations SET {numbered.mark} = {CURRENT} WHERE id IN ({owners});")  # noqa: S608
    exists = f"EXISTS (SELECT 1 FROM {table} WHERE {collides})"  # noqa: S608 - our names
    return f"CREATE TRIGGER {name} ON {table} WHEN {when}{exists} BEGIN {' '.join(body)} END"


def _bump(numbered: Numbered) -> str:
    state = f", {numbered.state} = revision + 1" if numbered.state else ""
    return f"UPDATE directory_state SET revision = revision + 1{state} WHERE id = 1;"  # noqa: S608 - our names


def _logged(numbered: Numbered, row: str, source: str = "", where: str = "") -> str:
    """A row under each of its keys; `where` says which rows of the table `source` are meant."""
    where = f"{source} WHERE directory_state.id = 1{where}"
    return " UNION ".join(
        [
            f"{_row(numbered.organization, numbered.kind, numbered.key)}{where}",
            *(f"{_row(numbered.organization, kind, key)}{where} AND {key} IS NOT NULL" for kind, key in numbered.also),
        ]
    ).format(row=row)


def _row(organization: str, kind: str, key: str) -> str:
    """Text and bytes alike as bytes: whatever a column holds, a reader can read it."""
    columns = f"CAST({organization} AS INTEGER), {kind}, CAST({key} AS BLOB)"
    return f"SELECT directory_state.revision, lineage, {NOW}, {columns} FROM directory_state"  # noqa: S608 - our names
