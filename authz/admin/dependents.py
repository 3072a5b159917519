"""Who depends on a CA: users whose registrations, or what they presented lately, lead to it; who has another way."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import sqlalchemy as sa

from authz.admin.ca_lifetimes import by_digest, is_issuer, is_readable, reached, read_cas, read_name, signer_of_crls
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.directory.organizations import list_organizations
from authz.directory.paths_seen import paths_in_use
from authz.directory.report import LATELY
from authz.directory.schema import Moment, last_seen, registrations, users
from authz.directory.seen_cas import list_seen_cas
from authz.model import BindingScope, Enforcement, Organization, RegistrationKind
from authz.pki import Certificate


class Dependent(NamedTuple):
    """A user who depends on a CA.

    `registration` is the number of an active registration that leads to it, None if only `presented`, the SHA-256 of a
    certificate seen lately, does. `elsewhere_registration` and `elsewhere_presented` lead to an anchor without it.
    """

    organization: str
    user: str
    registration: int | None
    presented: bytes | None
    elsewhere_registration: int | None
    elsewhere_presented: bytes | None

    @property
    def stops(self) -> bool:
        """Whether nothing of the user leads elsewhere."""
        return self.elsewhere_registration is None and self.elsewhere_presented is None


def dependents(connection: sa.Connection, owner: str | None, sha256: bytes, now: datetime) -> Iterator[Dependent]:
    """The users who depend on a stored CA, of one organization or for None of all, by name. Raises `StoreError`."""
    for organization in list(list_organizations(connection)):
        if organization.active and owner in {None, organization.name}:
            yield from _of_organization(connection, organization, _Cas.of(connection, organization), {sha256}, now)


def crl_dependents(connection: sa.Connection, signer: bytes, now: datetime) -> Iterator[Dependent]:
    """The users who depend on the CRLs of a key (SHA-256 of its SubjectPublicKeyInfo), of all organizations, by name.

    Those are the users below the CAs of that key: without a CRL of theirs, what they issued is of unknown status.
    """
    for organization in list(list_organizations(connection)):
        cas = _Cas.of(connection, organization)
        gone = {ca.sha256 for ca in cas.every if signer_of_crls(ca) == signer}
        if organization.active and gone:
            yield from _of_organization(connection, organization, cas, gone, now)


class _Cas(NamedTuple):
    """The CAs of an organization.

    `chains` are those that came with registrations, by their `chain_sha256`; `seen` those that only clients send.
    """

    anchors: list[Certificate]
    intermediates: list[Certificate]
    chains: dict[bytes, list[Certificate]]
    seen: list[Certificate]

    @classmethod
    def of(cls, connection: sa.Connection, organization: Organization) -> _Cas:
        """Those that can be read."""
        stored = [
            [row.certificate for row in table.list(connection, organization.name) if is_readable(row.certificate)]
            for table in (ANCHORS, INTERMEDIATES)
        ]
        seen = [ca for der in list_seen_cas(connection, organization.id) for ca in read_cas(der)]
        return cls(stored[0], stored[1], _stored_chains(connection, organization), seen)

    @property
    def every(self) -> list[Certificate]:
        """All of them, some twice."""
        return [*self.anchors, *self.intermediates, *chain.from_iterable(self.chains.values()), *self.seen]

    def lasting(self, gone: Collection[bytes], now: datetime) -> _Cas:
        """Those that are valid, without those that are `gone`."""

        def kept(cas: Iterable[Certificate]) -> list[Certificate]:
            return [ca for ca in cas if ca.sha256 not in gone and _is_valid(ca, now)]

        chains = {digest: kept(cas) for digest, cas in self.chains.items()}
        return _Cas(kept(self.anchors), kept(self.intermediates), chains, kept(self.seen))

    def trusted(self, digest: bytes | None, anchor: bytes | None = None) -> list[Certificate]:
        """The CAs below the anchors for a leaf that was registered with these others, for None with none.

        Below the one of SHA-256 `anchor`, if that is given.
        """
        tops = [ca for ca in self.anchors if anchor in {None, ca.sha256}]
        return reached(tops, [*self.intermediates, *self.chains.get(digest or b"", ())])


def _is_valid(ca: Certificate, now: datetime) -> bool:
    return ca.not_before <= now <= ca.not_after


def _of_organization(
    connection: sa.Connection, organization: Organization, cas: _Cas, gone: set[bytes], now: datetime
) -> Iterator[Dependent]:
    """The users who depend on the CAs whose SHA-256 are `gone`."""
    issuers = list(connection.execute(_ISSUERS, {"owner": organization.id}))
    below = reached([ca for ca in cas.every if ca.sha256 in gone], cas.every)
    left, known = cas.lasting(gone, now), by_digest(cas.every)
    # What came with one registration is in no other user's bag.
    elsewhere = cache(left.trusted)
    paths, tops = paths_in_use(connection), {ca.sha256 for ca in left.anchors}
    through = [path for path in paths if gone.intersection(path)]
    others = [
        path
        for path in paths
        if _has_twin(path, known, elsewhere(None, None))
        or (path[-1] in tops and not gone.intersection(path) and _lasts(path, known, now))
    ]
    # Of a name that was registered without a certificate, or with one of a CA that only clients have, it is not known
    # which CA below its anchor issues them.
    issued = registrations.c.issuer.is_not(None)
    unknown = sa.not_(issued & _issued_by(issuers, lambda _: cas.every))
    anchors = left.anchors if RegistrationKind.IDENTITY in organization.binding_kinds else []
    names = [top for top in anchors if not gone.intersection(by_digest(reached([top], cas.every)))]
    anchor = registrations.c.anchor_sha256
    query = _users(
        _issued_by(issuers, lambda _: below) | (anchor.in_(gone) & unknown),
        _issued_by(issuers, lambda row: elsewhere(row.chain_sha256, row.anchor_sha256))
        | (sa.not_(issued) & anchor.in_([top.sha256 for top in names])),
        _presented(_of_paths(through)),
        _presented(sa.and_(_of_paths(others), _passes(organization, gone))),
        [kind.value for kind in organization.binding_kinds],
    )
    for row in connection.execute(query, {"owner": organization.id, "now": now, "lately": now - LATELY}):
        yield Dependent(organization.name, *row)


def _lasts(path: Sequence[bytes], cas: Mapping[bytes, Certificate], now: datetime) -> bool:
    """Whether all CAs of a path that are known are valid."""
    return all(_is_valid(cas[digest], now) for digest in path if digest in cas)


def _has_twin(path: Sequence[bytes], cas: Mapping[bytes, Certificate], elsewhere: Collection[Certificate]) -> bool:
    """Whether the first CA of a path that is known has, or is, a certificate of the same name and key elsewhere."""
    first = next((cas[digest] for digest in path if digest in cas), None)
    if first is None:
        return False
    signer = signer_of_crls(first)
    return signer != b"" and any(ca.subject == first.subject and signer_of_crls(ca) == signer for ca in elsewhere)


def _stored_chains(connection: sa.Connection, organization: Organization) -> dict[bytes, list[Certificate]]:
    """The CAs that came with registrations, by the SHA-256 of all that one came with."""
    columns = registrations.c
    owned = columns.organization_id == organization.id, columns.chain_sha256.is_not(None)
    firsts = sa.select(sa.func.min(columns.id)).where(*owned).group_by(columns.chain_sha256)
    rows = connection.execute(sa.select(columns.chain_sha256, columns.chain).where(columns.id.in_(firsts)))
    return {row.chain_sha256: read_cas(bytes(row.chain)) for row in rows}


def _issued_by(issuers: Sequence[Any], cas: Callable[[Any], Collection[Certificate]]) -> sa.ColumnElement[bool]:
    """Whether a registration's leaf has the name and key identifier of one of its `cas` as its issuer's."""
    matching = [
        (row.issuer, row.authority_key_id or b"", row.chain_sha256 or b"", row.anchor_sha256 or b"")
        for row in issuers
        if any(is_issuer(ca, read_name(row.issuer), row.authority_key_id) for ca in cas(row))
    ]
    columns = registrations.c
    others = columns.authority_key_id, columns.chain_sha256, columns.anchor_sha256
    parts = [columns.issuer, *(sa.func.coalesce(part, b"") for part in others)]
    return sa.tuple_(*parts).in_(matching)


_NOW, _LATELY = (sa.bindparam(name, type_=Moment) for name in ("now", "lately"))
_OWNER: sa.BindParameter[int] = sa.bindparam("owner")
_ISSUERS = (
    sa.select(*(registrations.c[name] for name in ("issuer", "authority_key_id", "chain_sha256", "anchor_sha256")))
    .where(registrations.c.organization_id == _OWNER, registrations.c.issuer.is_not(None))
    .distinct()
)
_ACTIVE = (
    *(column.is_(None) | (column > _NOW) for column in (registrations.c.valid_until, registrations.c.retired_at)),
    registrations.c.valid_from.is_(None) | (registrations.c.valid_from <= _NOW),
)


def _users(
    here: sa.ColumnElement[bool],
    elsewhere: sa.ColumnElement[bool],
    presented: sa.ScalarSelect[Any],
    presented_elsewhere: sa.ScalarSelect[Any],
    kinds: Collection[str],
) -> sa.Select[Any]:
    """The active users of whom a registration or a certificate seen lately leads to such a CA, with what each has."""
    columns = [
        _registration(here, kinds).label("registration"),
        presented.label("presented"),
        _registration(elsewhere, kinds),
        presented_elsewhere,
    ]
    query = sa.select(users.c.name, *columns).where(users.c.organization_id == _OWNER, users.c.active)
    return query.where(sa.or_(*(column.element.is_not(None) for column in columns[:2]))).order_by(users.c.name)


def _registration(leads: sa.ColumnElement[bool], kinds: Collection[str]) -> sa.ScalarSelect[Any]:
    columns = registrations.c
    dated = (columns.not_before <= _NOW) & (columns.not_after >= _NOW)
    good = (columns.kind != RegistrationKind.CERTIFICATE) | dated
    query = sa.select(sa.func.max(columns.id)).where(columns.user_id == users.c.id, columns.kind.in_(kinds))
    return query.where(leads, good, *_ACTIVE).correlate(users).scalar_subquery()


def _of_paths(paths: Collection[Sequence[bytes]]) -> sa.ColumnElement[bool]:
    return last_seen.c.path.in_([b"".join(path) for path in paths])


def _presented(leads: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    """What was presented lately and leads there."""
    seen = last_seen.c
    query = sa.select(seen.sha256).where(seen.user_id == users.c.id, seen.not_after >= _NOW, seen.last_seen >= _LATELY)
    return query.where(leads).order_by(seen.last_seen.desc()).limit(1).correlate(users).scalar_subquery()


def _passes(organization: Organization, gone: Collection[bytes]) -> sa.ColumnElement[bool]:
    """Whether a request with what was presented passes: if a registration is required, by what is registered now."""
    bound = still_registered(organization, _NOT_NAMED | _ANCHOR.not_in(gone))
    return (users.c.enforcement != Enforcement.REQUIRED) | ((last_seen.c.refused_by == "") & bound)


def still_registered(organization: Organization, *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether what a certificate seen last matched is registered, and counts at the parameter `now`."""
    seen, mine = last_seen.c, registrations.c
    matches = {
        RegistrationKind.CERTIFICATE: mine.sha256 == seen.sha256,
        RegistrationKind.KEY: mine.spki_sha256 == seen.spki_sha256,
        # Of what was seen the names are not known; the condition on its identity is that of an index.
        RegistrationKind.IDENTITY: (mine.anchor_sha256 == seen.anchor_sha256) & mine.identity.is_not(None),
    }
    # By the row of what was seen: the row of the user stands one level too far out to be meant.
    whose = mine.organization_id == seen.organization_id
    if organization.binding_scope is not BindingScope.ORGANIZATION:
        whose = mine.user_id == seen.user_id
    # One look-up for each kind, as no index serves a comparison that depends on the kind.
    return sa.or_(
        *(
            (seen.matched == kind) & sa.exists().where(whose, mine.kind == kind, matches[kind], *_ACTIVE, *conditions)
            for kind in organization.binding_kinds
        )
    )


_ANCHOR = registrations.c.anchor_sha256
_NOT_NAMED = registrations.c.kind != RegistrationKind.IDENTITY
