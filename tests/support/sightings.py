"""Rows of registrations and of what was seen, with the dates that a test gives and nothing else that matters."""

from __future__ import annotations

from datetime import datetime
from itertools import count

import sqlalchemy as sa

from authz.directory import Store
from authz.directory.schema import last_seen, registrations
from authz.directory.users import get_user

_numbers = count(1)


def add_registration(store: Store, organization: str, user: str, now: datetime, **columns: object) -> int:
    """One of a certificate of its own, whose dates are `columns`; its number."""
    with store.transaction() as connection:
        owner = get_user(connection, organization, user)
        values = {"organization_id": owner.organization_id, "user_id": owner.id, "label": "", "created_at": now}
        values |= {"sha256": b"%032d" % next(_numbers), "der": b"", "chain": b"", "kind": "certificate"}
        added = connection.execute(sa.insert(registrations).values(**{**values, **columns}))
        return int((added.inserted_primary_key or (0,))[0])


def add_sighting(store: Store, organization: str, user: str, seen: datetime, **columns: object) -> bytes:
    """One of a leaf of its own, below the CA `c…` and the anchor `a…`; its SHA-256."""
    with store.transaction() as connection:
        owner = get_user(connection, organization, user)
        values = {"organization_id": owner.organization_id, "user_id": owner.id, "sha256": b"%032d" % next(_numbers)}
        values |= {"first_seen": seen, "last_seen": seen, "issuer": b"", "spki_sha256": b"", "listener": "envoy"}
        values |= {"path": b"c" * 32 + b"a" * 32, "anchor_sha256": b"a" * 32}
        values |= columns
        connection.execute(sa.insert(last_seen).values(**values))
        return bytes(values["sha256"])  # type: ignore[call-overload, no-any-return]
