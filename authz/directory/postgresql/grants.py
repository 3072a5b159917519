"""The roles: a service reads, and writes what has no revision; the command writes; nothing but migrations does more.

Neither can set a revision, write the log of changes or switch a trigger off: the triggers' functions run as the owner.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

READ: Final = "authz_read"
WRITE: Final = "authz_write"
ROLES: Final = (READ, WRITE)

REPORTED: Final = ("decisions", "presentations", "crl_sources", "fetched_crls", "last_seen", "seen_cas")
"""Tables that the running service writes."""

WRITTEN: Final = ("organizations", "hosts", "users", "registrations", "anchors", "intermediates", "crls")
"""Tables that the command writes; each has the triggers that log changes."""

RIGHTS: Final = (
    f"GRANT USAGE ON SCHEMA public TO {READ}, {WRITE}",
    f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {READ}, {WRITE}",
    f"GRANT INSERT, UPDATE, DELETE ON {', '.join(REPORTED)} TO {READ}",
    f"GRANT INSERT, UPDATE, DELETE ON {', '.join(WRITTEN)} TO {WRITE}",
    # What was done is added, and never changed.
    f"GRANT INSERT ON audit TO {WRITE}",
    f"GRANT INSERT, UPDATE ON renumbered_sources TO {WRITE}",
    f"GRANT UPDATE (asked_at) ON crl_sources TO {WRITE}",
    f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {WRITE}",
    f"REVOKE USAGE ON ALL SEQUENCES IN SCHEMA public FROM {READ}",
    f"GRANT USAGE ON SEQUENCE decisions_id_seq, presentations_id_seq TO {READ}",
    f"GRANT EXECUTE ON FUNCTION take_turn() TO {WRITE}",
)


def make_roles(connection: sa.Connection) -> None:
    """Make the roles that are not there: users of their own become members of them."""
    known = set(connection.execute(sa.text("SELECT rolname FROM pg_roles")).scalars())
    for role in ROLES:
        if role not in known:
            connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")


def grant(connection: sa.Connection) -> None:
    """Give both roles their rights, if they are there. Called as the owner."""
    known = set(connection.execute(sa.text("SELECT rolname FROM pg_roles")).scalars())
    if known.issuperset(ROLES):
        for right in RIGHTS:
            connection.exec_driver_sql(right)
