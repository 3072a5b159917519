"""From rows to the nouns of `authz.model`, for the writers' store and the service's reader alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from authz import pki
from authz.errors import Refused
from authz.model import (
    DEFAULT_PATHS,
    Algorithm,
    BindingScope,
    Enforcement,
    Organization,
    PathSettings,
    Registration,
    RegistrationKind,
    TokenSettings,
    User,
)
from authz.pki.x509 import der

if TYPE_CHECKING:
    from authz.pki import Certificate

Row = sa.Row[Any]

TOKEN_SETTINGS = tuple(field.name for field in fields(TokenSettings))
"""Each has a column `token_…`."""

REGISTRATION = tuple(field.name for field in fields(Registration) if field.name != "der")
"""Each is a column, and all that a check reads."""

PATH_SETTINGS = tuple(field.name for field in fields(PathSettings))
"""Each has a column `path_…`."""


def organization(row: Row, hosts: Iterable[str]) -> Organization:
    """An organization with its hosts, in alphabetical order."""
    return Organization(
        id=row.id,
        name=row.name,
        hosts=tuple(sorted(hosts)),
        active=row.active,
        binding_scope=BindingScope(row.binding_scope),
        default_enforcement=Enforcement(row.default_enforcement),
        token=token_settings(row),
        path=path_settings(row),
        binding_kinds=tuple(map(RegistrationKind, row.binding_kinds.split())),
    )


def token_settings(row: Row) -> TokenSettings:
    """How an organization's tokens are recognized."""
    return TokenSettings(**{name: getattr(row, f"token_{name}") for name in TOKEN_SETTINGS})


def path_settings(row: Row) -> PathSettings:
    """What an organization's paths must satisfy. Raises `ValueError` for an algorithm unknown to this version."""
    values = {name: getattr(row, f"path_{name}") for name in PATH_SETTINGS}
    algorithms = tuple(map(Algorithm, values["algorithms"].split()))
    settings = PathSettings(**values | {"algorithms": algorithms, "policies": tuple(values["policies"].split())})
    return DEFAULT_PATHS if settings == DEFAULT_PATHS else settings


def path_columns(settings: PathSettings) -> dict[str, object]:
    """The same as the columns of an organization's row: a list is a text, its parts one space apart."""
    values = {f"path_{name}": getattr(settings, name) for name in PATH_SETTINGS}
    return {name: " ".join(value) if isinstance(value, tuple) else value for name, value in values.items()}


def user(row: Row) -> User:
    """A user."""
    return User(row.id, row.organization_id, row.name, Enforcement(row.enforcement), row.active)


def registration(row: Row, *, lenient: bool = False) -> Registration:
    """A registration; its chain is stored as certificates in a row.

    Raises `ValueError` if it is not; if `lenient`, for those who list or end it, the chain is empty then.
    """
    return Registration(
        id=row.id,
        organization_id=row.organization_id,
        user_id=row.user_id,
        sha256=row.sha256,
        label=row.label,
        chain=readable_chain(row.chain or b"") if lenient else split_chain(row.chain or b""),
        valid_from=row.valid_from,
        valid_until=row.valid_until,
        retired_at=row.retired_at,
        kind=RegistrationKind(row.kind),
        tbs_sha256=row.tbs_sha256,
        spki_sha256=row.spki_sha256,
        identity=row.identity,
        anchor_sha256=row.anchor_sha256,
        der=getattr(row, "der", None) or b"",
    )


def split_chain(data: bytes) -> tuple[bytes, ...]:
    """The certificates that stand one behind the other in `data`. Raises `ValueError` if it is anything else."""
    certificates = []
    start = 0
    while start < len(data):
        end = der.element(data, start, len(data))[2]
        certificates.append(data[start:end])
        start = end
    return tuple(certificates)


def readable_chain(data: bytes) -> tuple[bytes, ...]:
    """The certificates of a stored chain; of one that is cut, none."""
    try:
        return split_chain(data)
    except ValueError:
        return ()


def readable(stored: bytes | None) -> Certificate | None:
    """The certificate in a row whose DER and subject can be read."""
    if stored is None:
        return None
    try:
        certificate = pki.Certificate.parse(stored)
        certificate.subject  # noqa: B018 - a list shows its name
    except Refused:
        return None
    return certificate
