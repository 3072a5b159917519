"""The rows that checks wait for: all of one kind in one statement, and what the same checks will want next.

A row of one kind costs some 3 us in a statement with others, and 60 in one of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

import sqlalchemy as sa

from authz.directory import rows
from authz.directory.database import READ_ERRORS
from authz.directory.keys import HostKey, RegistrationsByKey, RegistrationsKey, RenewalsKey, RowKey, TrustKey, UserKey
from authz.directory.prepared import Many, many
from authz.directory.schema import anchors, hosts, intermediates, organizations, registrations, users
from authz.errors import Refused
from authz.model import Enforcement, Registration, RegistrationKind, User
from authz.pki import SERVICE_POLICY, Certificate, ValidationPolicy, service_policy
from authz.reasons import Reason

NEWEST_LEAVES: Final = 4
"""Of a user's leaves those whose registrations are read along with the user."""

ROW_ERRORS: Final = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError)
"""What a row of any values raises as it is read: SQLite keeps text among numbers, and bytes that are not UTF-8."""

Found = dict[RowKey, object]
Failed = dict[RowKey, Refused]
K = TypeVar("K", bound=RowKey)


class Trust(NamedTuple):
    """An organization's anchors and intermediates, read but for what they need of the loop, and its policy."""

    policy: ValidationPolicy
    anchors: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...]


def read_rows(
    connection: sa.Connection, keys: Collection[RowKey], wanted: Collection[int] = ()
) -> tuple[Found, Failed]:
    """The rows of `keys`, and what their checks will ask for next; and those of them that make no sense.

    With a user come the registrations of the user's newest leaves and, if `wanted` names it, the organization's trust.
    A row that is not there is None, or an empty tuple; anchors that cannot be read are the refusal.
    """
    reading, asked = _Reading(connection), _by_kind(keys)
    reading.read(_read_hosts, asked[HostKey])
    reading.read(_read_users, asked[UserKey])
    leaves, trusts = asked[RegistrationsKey], asked[TrustKey]
    known = (reading.found.get(key) for key in asked[UserKey])
    if bound := [user for user in known if isinstance(user, User) and user.enforcement is not _OFF]:
        leaves += _newest_leaves(connection, bound)
        trusts += [TrustKey(user.organization_id) for user in bound if user.organization_id in wanted]
    reading.read(_read_registrations, list(dict.fromkeys(leaves)))
    if asked[RenewalsKey]:
        _read_all_renewals(reading, asked[RenewalsKey])
    reading.read(_read_trust, list(dict.fromkeys(trusts)))
    return reading.found, reading.failed


def _by_kind(keys: Collection[RowKey]) -> dict[type, list[Any]]:
    asked: dict[type, list[Any]] = defaultdict(list)
    for key in keys:
        asked[type(key)].append(key)
    return asked


def _row_errors(connection: sa.Connection) -> tuple[type[Exception], ...]:
    """Those that say something of a row: PostgreSQL's own say that its transaction is over."""
    return (*ROW_ERRORS, *READ_ERRORS) if connection.dialect.name == "sqlite" else ROW_ERRORS


class _Reading:
    """Rows as they are read, in one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        self.found: Found = {}
        self.failed: Failed = {}
        self._connection = connection

    def read(self, read: Callable[[sa.Connection, list[K]], dict[K, Any]], keys: list[K]) -> None:
        """All in one statement; if that fails, each alone, so that a row which makes no sense fails no other."""
        if not keys:
            return
        try:
            self.found.update(read(self._connection, keys).items())
        except _row_errors(self._connection) as error:
            if len(keys) > 1:
                for key in keys:
                    self.read(read, [key])
            else:
                detail = f"a row makes no sense: {type(error).__name__}"
                self.failed[keys[0]] = Refused(Reason.DIRECTORY_UNAVAILABLE, detail)


def _read_hosts(connection: sa.Connection, keys: list[HostKey]) -> dict[HostKey, object]:
    """The organizations, which have no hosts here: one may have ten thousand, and no decision asks for them."""
    by_host = {row.host: rows.organization(row, []) for row in many(_hosts, connection, [(key.host,) for key in keys])}
    return {key: by_host.get(key.host) for key in keys}


def _read_users(connection: sa.Connection, keys: list[UserKey]) -> dict[UserKey, User | None]:
    by_key = {UserKey(row.organization_id, row.name): rows.user(row) for row in many(_users, connection, keys)}
    return {key: by_key.get(key) for key in keys}


def _read_registrations(
    connection: sa.Connection, keys: list[RegistrationsKey]
) -> dict[RegistrationsKey, tuple[Registration, ...]]:
    by_key: dict[RegistrationsKey, dict[int, Registration]] = {key: {} for key in keys}
    for row in many(_registrations, connection, keys):
        by_key[RegistrationsKey(row.organization_id, row.sha256)][row.id] = rows.registration(row)
    return {key: tuple(registrations.values()) for key, registrations in by_key.items()}


def _read_renewals(
    column: str, query: Many, connection: sa.Connection, keys: list[RegistrationsByKey]
) -> dict[RegistrationsByKey, tuple[Registration, ...]]:
    by_value: dict[tuple[int, object], dict[int, Registration]] = {}
    wanted = {(key.organization, key.value.decode() if column == "identity" else key.value): key for key in keys}
    for row in many(query, connection, list(wanted)):
        by_value.setdefault((row.organization_id, getattr(row, column)), {})[row.id] = rows.registration(row)
    return {key: tuple(by_value.get(value, {}).values()) for value, key in wanted.items()}


def _read_all_renewals(reading: _Reading, renewals: list[RenewalsKey]) -> None:
    """Those of one kind in one statement; a key that fails fails all that ask for it."""
    by_kind: dict[str, dict[RegistrationsByKey, None]] = {kind: {} for kind in _RENEWALS}
    for key in (key for renewal in renewals for key in renewal.keys):
        by_kind[key.kind][key] = None
    for kind, read in _RENEWALS.items():
        reading.read(read, list(by_kind[kind]))
    for renewal in renewals:
        for key in renewal.keys:
            if key in reading.failed:
                reading.failed[renewal] = reading.failed[key]


def _newest_leaves(connection: sa.Connection, bound: list[User]) -> list[RegistrationsKey]:
    owners = {user.id: user.organization_id for user in bound}
    try:
        leaves = many(_leaves, connection, [(number,) for number in owners])
    except _row_errors(connection):
        return []
    return [RegistrationsKey(owners[row.user_id], row.sha256) for row in leaves]


def _read_trust(connection: sa.Connection, keys: list[TrustKey]) -> dict[TrustKey, Trust | Refused]:
    """Anchors that cannot be read deny their organization, and no other, unless they are shared.

    Raises `ValueError` for a policy that makes no sense.
    """
    policies = {row.id: service_policy(rows.path_settings(row)) for row in many(_owners, connection, keys)}
    # By id, for shared ones come with each statement.
    tables = [{row.id: row for row in many(query, connection, keys)} for query in (_anchors, _intermediates)]
    read: dict[bytes, Certificate] = {}
    return {key: _trust(policies.get(key.organization, SERVICE_POLICY), tables, key.organization, read) for key in keys}


def _trust(
    policy: ValidationPolicy, tables: list[dict[int, Any]], owner: int, read: dict[bytes, Certificate]
) -> Trust | Refused:
    try:
        known = [
            tuple([_read(row, read) for row in table.values() if row.organization_id in {owner, None}])
            for table in tables
        ]
        return Trust(policy, *known)
    except Refused as refusal:
        return Refused(Reason.TRUST_ANCHORS_UNUSABLE, refusal.detail, certificate=refusal.certificate)


def _read(row: sa.Row[Any], read: dict[bytes, Certificate]) -> Certificate:
    """A certificate whose name was read as well, so that the event loop need not."""
    certificate = read.get(row.der)
    if certificate is None:
        try:
            certificate = Certificate.parse(row.der)
            certificate.subject  # noqa: B018 - kept once it is read
        except Refused as refusal:
            detail = f"the CA certificate {row.sha256.hex()}: {refusal.detail}"
            raise Refused(refusal.reason, detail, certificate=refusal.certificate) from refusal
        read[row.der] = certificate
    return certificate


# -- the statements: `a0`, `b0`, `a1`, `b1`… are the keys' columns ----------------------------------------------------


def _one_of(count: int, *columns: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return sa.or_(
        *(
            sa.and_(*(column == sa.bindparam(f"{name}{at}") for name, column in zip("ab", columns, strict=False)))
            for at in range(count)
        )
    )


def _hosts(count: int) -> sa.Select[Any]:
    return sa.select(hosts.c.host, organizations).join(hosts).where(_one_of(count, hosts.c.host))


def _users(count: int) -> sa.Select[Any]:
    return sa.select(users).where(_one_of(count, users.c.organization_id, users.c.name))


def _registrations(count: int) -> sa.Select[Any]:
    # The log names those of other kinds by another column.
    certificates = registrations.c.kind == RegistrationKind.CERTIFICATE
    return _registrations_by("sha256", count).where(certificates)


def _registrations_by(name: str, count: int, *more: sa.ColumnElement[Any]) -> sa.Select[Any]:
    columns = (registrations.c[column] for column in rows.REGISTRATION)
    wanted = _one_of(count, registrations.c.organization_id, registrations.c[name])
    return sa.select(*columns, *more).where(wanted).order_by(registrations.c.id)


def _renewals(name: str, count: int) -> sa.Select[Any]:
    """With the certificates, of which a CRL may say that their key is compromised."""
    return _registrations_by(name, count, registrations.c.der)


def _leaves(count: int) -> sa.Select[Any]:
    """Of each user apart: who has ten thousand registrations costs no more than who has four.

    A leaf that many users share is read when a check asks for it, and not with each of them.
    """
    names = "user_id", "organization_id", "sha256"
    leaves = sa.select(*(registrations.c[name] for name in names)).order_by(registrations.c.id.desc())
    of_users = (leaves.where(registrations.c.user_id == sa.bindparam(f"a{at}")) for at in range(count))
    newest = sa.union_all(*(sa.select(of.limit(NEWEST_LEAVES).subquery()) for of in of_users)).subquery()
    alike = (registrations.c[name] == newest.c[name] for name in names[1:])
    shared = sa.select(registrations.c.id).where(*alike).correlate(newest).limit(1).offset(NEWEST_LEAVES)
    return sa.select(newest.c.user_id, newest.c.sha256).where(~sa.exists(shared))


def _owners(count: int) -> sa.Select[Any]:
    columns = organizations.c.id, *(column for column in organizations.c if column.name.startswith("path_"))
    return sa.select(*columns).where(_one_of(count, organizations.c.id))


def _anchors(count: int) -> sa.Select[Any]:
    return _certificates(anchors, count)


def _intermediates(count: int) -> sa.Select[Any]:
    return _certificates(intermediates, count)


def _certificates(table: sa.Table, count: int) -> sa.Select[Any]:
    usable = _one_of(count, table.c.organization_id) | table.c.organization_id.is_(None)
    return (
        sa.select(table.c.id, table.c.organization_id, table.c.sha256, table.c.der).where(usable).order_by(table.c.id)
    )


_RENEWALS: Final = {
    kind: partial(_read_renewals, column, partial(_renewals, column))
    for kind, column in (("tbs", "tbs_sha256"), ("key", "spki_sha256"), ("identity", "identity"))
}
_OFF: Final = Enforcement.OFF
