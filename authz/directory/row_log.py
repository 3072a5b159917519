"""The log of changes: what became of the directory since a state that a reader knows.

The log has at least one row for every revision, and keeps the newest without a gap; triggers write it. So a reader
that finds its own state there, and each revision after it, knows every row that changed since. In all other cases it
knows nothing. Whole revisions are missed; that somebody deleted one of several rows of a revision by hand is not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Final

import sqlalchemy as sa

from authz.directory.keys import (
    ChangedKey,
    CrlKey,
    HostKey,
    OrganizationKey,
    RegistrationsByKey,
    RegistrationsKey,
    TrustKey,
    UserKey,
    UsersKey,
)
from authz.directory.prepared import prepared
from authz.directory.schema import directory_changes, directory_state

MAX_CHANGES: Final = 10_000
"""Keys that one reading takes, some 15 ms. Of more, an organization's users and registrations are one; of so many
again, to drop everything is cheaper.
"""


@dataclass(frozen=True, slots=True)
class State:
    """A state of the whole directory, and the revisions at which its parts changed last; -1 before anything was read.

    `revision` and `lineage` name the state together: no other ever has both.
    """

    revision: int = -1
    organizations: int = -1
    trust: int = -1
    crls: int = -1
    lineage: bytes = b""


def read_state(connection: sa.Connection) -> State:
    """The state that a transaction sees."""
    return State(*connection.execute(STATE).one())


def changes(connection: sa.Connection, known: State, state: State) -> set[ChangedKey] | None:
    """The keys of all rows that changed from `known` to `state`; None if the log does not say so."""
    if known == State() or _name(known) == _name(state):
        return set()
    try:
        logged = prepared(_SINCE, connection.dialect).rows(connection, revision=known.revision)
        if len(logged) > MAX_CHANGES:
            logged = _by_organization(connection, known, state)
        elif not _complete(logged, known, state):
            return None
        return {
            _KINDS[row.kind](row.organization_id or 0, bytes(row.key or b""))
            for row in logged
            if row.revision > known.revision
        }
    except (LookupError, TypeError, ValueError):
        # A kind of a later version, or a log that was written by hand.
        return None


def _complete(logged: Sequence[Any], known: State, state: State) -> bool:
    """Whether the log leads from `known` to `state`, without a gap."""
    if not logged or (tuple(logged[0][:2]), tuple(logged[-1][:2])) != (_name(known), _name(state)):
        return False
    return all(after.revision - before.revision in {0, 1} for before, after in pairwise(logged))


def _by_organization(connection: sa.Connection, known: State, state: State) -> list[Any]:
    """The same rows, but for users and registrations their organizations, so that a large one's import is its own.

    Raises `LookupError` if the log does not lead from `known` to `state`, or of too many.
    """
    span = {"revision": known.revision, "last": state.revision}
    whole = prepared(_WHOLE, connection.dialect).rows(connection, **span)[0]
    if tuple(whole) != (state.revision - known.revision + 1, known.lineage, state.lineage):
        raise LookupError
    logged = prepared(_BY_ORGANIZATION, connection.dialect).rows(connection, revision=known.revision)
    if len(logged) > MAX_CHANGES:
        raise LookupError
    return logged


def _name(state: State) -> tuple[int, bytes]:
    return state.revision, state.lineage


def _text(key: bytes) -> str:
    """No check asks for a name that is not UTF-8."""
    return key.decode(errors="replace")


def _registrations_by(kind: str, owner: int, key: bytes) -> RegistrationsByKey:
    return RegistrationsByKey(owner, kind, key)


_KINDS: Final[dict[str, Callable[[int, bytes], ChangedKey]]] = {
    "organization": lambda owner, _: OrganizationKey(owner),
    "host": lambda _, key: HostKey(_text(key)),
    "user": lambda owner, key: UserKey(owner, _text(key)),
    "certificate": RegistrationsKey,
    **{kind: partial(_registrations_by, kind) for kind in ("tbs", "key", "identity")},
    "users": lambda owner, _: UsersKey(owner),
    "trust": lambda owner, _: TrustKey(owner),
    "crl": lambda _, key: CrlKey(key),
}

STATE: Final = sa.select(
    directory_state.c.revision,
    directory_state.c.organizations_revision,
    directory_state.c.trust_revision,
    directory_state.c.crls_revision,
    directory_state.c.lineage,
)
_LOG: Final = directory_changes.c
_SINCE: Final = (
    sa.select(_LOG.revision, _LOG.lineage, _LOG.organization_id, _LOG.kind, _LOG.key)
    .where(_LOG.revision >= sa.bindparam("revision"))
    .order_by(_LOG.revision, _LOG.id)
    .limit(MAX_CHANGES + 1)
)


def _lineage(revision: str) -> sa.Label[bytes]:
    """That of the revision bound so: the rows of a revision share one."""
    other = directory_changes.alias()
    query = sa.select(other.c.lineage).where(other.c.revision == sa.bindparam(revision)).limit(1)
    return query.scalar_subquery().label(f"lineage_of_{revision}")


_WHOLE: Final = sa.select(
    sa.func.count(sa.distinct(_LOG.revision)).label("revisions"),
    _lineage("revision"),
    _lineage("last"),
).where(_LOG.revision >= sa.bindparam("revision"))
_OF_USERS: Final = sa.or_(*(_LOG.kind == kind for kind in ("user", "certificate", "tbs", "key", "identity")))
_BY_ORGANIZATION: Final = (
    sa.select(
        sa.func.max(_LOG.revision).label("revision"),
        _LOG.organization_id,
        sa.case((_OF_USERS, "users"), else_=_LOG.kind).label("kind"),
        sa.case((_OF_USERS, sa.null()), else_=_LOG.key).label("key"),
    )
    .where(_LOG.revision > sa.bindparam("revision"))
    .group_by(sa.text("2, 3, 4"))
    .limit(MAX_CHANGES + 1)
)
