"""Reads the certificates that an earlier version registered into the columns of their rows, after a migration.

In transactions of a thousand, so that no writer waits long, and each says how far it came: what is interrupted is
continued by the next call. Until all were read, no process of this version opens the directory.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from authz import pki
from authz.directory.database import Progress
from authz.directory.leaf_columns import read_columns
from authz.directory.schema import crls, directory_state, registrations
from authz.directory.sqlite.engine import database_file, open_engine
from authz.directory.sqlite.version import explained
from authz.model import RegistrationKind

BATCH: Final = 1_000
"""Registrations of one transaction, some 0.1 s."""

NAME_BYTES: Final = 4_096
"""In which the name of a CRL's issuer ends, if it can be read: the longest name that is read has 2,048."""


def fill(url: str, progress: Progress = lambda _: None) -> None:
    """Read what was not read yet; `progress` is called with the number of registrations read so far.

    Raises `StoreError` when the directory cannot be used; what was read stays.
    """
    engine, read = open_engine(url), 0
    try:
        with engine.begin() as connection:
            _fill_crls(connection)
        while True:
            with engine.begin() as connection:
                count = _fill_batch(connection)
            if count is None:
                return
            read += count
            if count:
                progress(read)
    except sa.exc.DatabaseError as error:
        raise explained(database_file(url), error.orig or error) from error
    finally:
        engine.dispose()


def _fill_batch(connection: sa.Connection) -> int | None:
    """The number of registrations read; None once there is nothing left."""
    after = connection.execute(sa.select(directory_state.c.unread_after)).scalar()
    if after is None:
        return None
    # Whatever a column holds, it is read as bytes.
    columns = (sa.cast(registrations.c[name], sa.LargeBinary).label(name) for name in ("der", "chain"))
    certificates = registrations.c.kind == RegistrationKind.CERTIFICATE
    query = sa.select(registrations.c.id, *columns).where(registrations.c.id > after, certificates)
    rows = connection.execute(query.order_by(registrations.c.id).limit(BATCH)).all()
    if rows:
        changes = [{"number": row.id, **read_columns(row.der, row.chain)} for row in rows]
        of_row = sa.update(registrations).where(registrations.c.id == sa.bindparam("number"))
        connection.execute(of_row, changes)
    last = rows[-1].id if len(rows) == BATCH else None
    connection.execute(sa.update(directory_state).values(unread_after=last))
    return len(rows)


def _fill_crls(connection: sa.Connection) -> None:
    """Of each CRL the name of its issuer, unless it cannot be read."""
    der = sa.cast(crls.c.der, sa.LargeBinary)
    columns = crls.c.id, sa.func.substr(der, 1, NAME_BYTES).label("start"), sa.func.length(der).label("size")
    for row in connection.execute(sa.select(*columns).where(crls.c.issuer.is_(None))).all():
        try:
            issuer = pki.written_issuer(row.start, row.size)
        except (ValueError, IndexError):
            continue
        connection.execute(sa.update(crls).where(crls.c.id == row.id).values(issuer=issuer))
