"""What an error of PostgreSQL means for the directory, as a sentence with what to do about it."""

from __future__ import annotations

import re
from typing import Final

from authz.directory.postgresql.engine import POOLER
from authz.errors import StoreError

UNCHANGED: Final = "nothing was changed"
DIRECT: Final = (
    "connect to the server itself: settings and locks of a session do not survive a pooler (docs/postgresql.md)"
)

BY_CODE: Final = {
    "25006": ("{place} only reads: it is a standby", "name the primary, or all servers of the cluster"),
    "42501": ("{place}: {error}", "call as a member of authz_write, or as the owner for authz db (docs/postgresql.md)"),
    "42P01": ("{place} is a database, but no directory of authz", "set AUTHZ_DATABASE, or make one: authz db init"),
    "42883": ("{place} is a database, but no directory of authz", "set AUTHZ_DATABASE, or make one: authz db init"),
    "53100": ("there is no room on the disk of {place}", f"make room; {UNCHANGED}"),
    "55P03": (
        "another transaction has held {place} for 5 s",
        f"end the transaction that is open in it (a shell, a long import), and try again; {UNCHANGED}",
    ),
}
"""By SQLSTATE (PostgreSQL's manual, appendix A): the sentence, and the hint."""

BY_TEXT: Final = (
    (POOLER, "{place}: {error}", DIRECT),
    ("unsupported startup parameter", f"{{place}}: {POOLER}", DIRECT),
    ("in hot standby mode", "{place}: {error}", "name the primary, or all servers of the cluster"),
    (
        "certificate verify failed|does not match host name|root certificate file|server does not support SSL",
        "{place} is not verified: {error}",
        "look at sslrootcert, and at the names in the server's certificate (docs/postgresql.md)",
    ),
    (
        "password authentication failed|no password supplied",
        "{place} refuses the password",
        "give the right one: in PGPASSWORD, or in the file that passfile names, with the mode 0600",
    ),
    (
        "no pg_hba.conf entry|valid client certificate|certificate authentication failed|alert unknown ca",
        "{place} does not admit this user: {error}",
        "look at pg_hba.conf, and at the user in the setting database and its certificate (sslcert, sslkey)",
    ),
    (
        "FATAL: database .* does not exist",
        "there is no database {place}",
        "create it: CREATE DATABASE ... OWNER ... ENCODING 'UTF8'",
    ),
    (
        "too many (clients|connections)|remaining connection slots",
        "{place} has no connection left",
        "raise max_connections: a service holds three, and two for each worker",
    ),
    ("connection", "{place} cannot be reached: {error}", "is the server running, and the setting database right?"),
)
"""Of errors while connecting libpq gives the text alone, without a SQLSTATE: a pattern, the sentence, and the hint."""


def explained(place: str, error: BaseException) -> StoreError:
    """The sentence for `error`, at the database `place`."""
    text = " ".join(str(error).split())
    code = getattr(error, "sqlstate", None)
    if code in BY_CODE:
        problem, hint = BY_CODE[code]
        return StoreError(problem.format(place=place, error=text), hint=hint)
    for part, problem, hint in BY_TEXT:
        if re.search(part, text):
            return StoreError(problem.format(place=place, error=text), hint=hint)
    return StoreError(f"the directory {place} cannot be used: {text}", hint=UNCHANGED)
