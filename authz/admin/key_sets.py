"""Which keys of key sets end, as their issuer states it: the service itself looks at no such date."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import sqlalchemy as sa

from authz.directory.schema import organizations
from authz.errors import Refused
from authz.identity.strict_json import read_object
from authz.pki import Certificate

MAX_BYTES: Final = 256 * 1024
"""Of a file, as the service reads it."""


class KeyEnd(NamedTuple):
    """A key of a key set, or for None of `at` a set that cannot be read: whose it is, and what to call it."""

    at: datetime | None
    organization: str
    what: str


def key_ends(connection: sa.Connection) -> Iterator[KeyEnd]:
    """The keys with an end in files of active organizations; what a URL has, the running service alone knows."""
    query = sa.select(organizations.c.name, organizations.c.token_keys).order_by(organizations.c.name)
    query = query.where(organizations.c.active, organizations.c.token_keys.is_not(None))
    for organization, location in connection.execute(query):
        if "://" not in location:
            try:
                ends = list(_ends(_read(Path(location))))
            except (OSError, ValueError) as error:
                cause = getattr(error, "strerror", None) or error
                yield KeyEnd(None, organization, f"key set {location}, which cannot be read: {cause}")
            else:
                yield from (KeyEnd(at, organization, f"key {kid} of the key set {location}") for kid, at in ends)


def _read(path: Path) -> bytes:
    # A pipe would be waited for.
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no file")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return data


def _ends(data: bytes) -> Iterator[tuple[str, datetime]]:
    listed = read_object(data).get("keys")
    for number, jwk in enumerate(listed if isinstance(listed, list) else ()):
        stated = [end for end in (_exp(jwk), _not_after(jwk)) if end is not None] if isinstance(jwk, dict) else []
        if stated:
            yield str(jwk.get("kid", number)), min(stated)


def _exp(jwk: dict[str, object]) -> datetime | None:
    """OpenID Federation 1.0 section 8.7.2 has it of keys; RFC 7517 has no such member."""
    exp = jwk.get("exp")
    try:
        return datetime.fromtimestamp(exp, UTC) if isinstance(exp, int | float) else None
    except (ValueError, OverflowError, OSError):
        return None


def _not_after(jwk: dict[str, object]) -> datetime | None:
    """Of the key's own certificate, the first (RFC 7517 section 4.7)."""
    chain = jwk.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return None
    try:
        return Certificate.parse(base64.b64decode(chain[0], validate=True)).not_after
    except (ValueError, Refused):
        return None
