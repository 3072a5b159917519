"""Registered certificates: added, changed, retired and reinstated.

Every function raises `ConfigError` for certificates that cannot be used, and `StoreError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from authz import pki
from authz.admin.audited_store import AuditedStore, Change
from authz.admin.described import described_registration
from authz.directory import Store, registrations
from authz.directory.authorities import ANCHORS, INTERMEDIATES
from authz.directory.organizations import get_organization
from authz.directory.queries import only
from authz.directory.registrations import StoredRegistration, get_registration, set_registration
from authz.errors import ConfigError, Problem, Refused, StoreError
from authz.model import Organization, RegistrationKind

if TYPE_CHECKING:
    from authz.pki import Certificate, CrlStore, TrustStore

MAX_IDENTITY: Final = 2_048
"""Characters of a name, with its type."""


@dataclass(frozen=True, slots=True)
class NewRegistration:
    """A leaf to be registered for a user, with the CA certificates beside it, in any order.

    `source` is where the certificates come from, for errors to name. `identity` is the name that is registered, and
    `anchor` how the SHA-256 of the anchor begins below which it counts; where a leaf is given, the only name that it
    has, and the anchor of its path. A name needs no leaf.
    """

    organization: str
    user: str
    certificates: Sequence[Certificate]
    source: object
    label: str = ""
    kind: RegistrationKind = RegistrationKind.CERTIFICATE
    identity: str | None = None
    anchor: str | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """A registration; the other organizations that have the leaf, too; why it would be refused now, if it would.

    A leaf elsewhere may be an attempt to take another's public certificate for one's own, so the operator is to see it.
    It is not `new` if it was there before, the same in all.
    """

    registration: StoredRegistration
    elsewhere: list[str]
    problem: Refused | None
    new: bool = True


def register(store: AuditedStore, new: NewRegistration, now: datetime) -> Registered:
    """Register the leaf among certificates for a user."""
    return register_all(store, [new], now)[0]


def register_all(store: AuditedStore, new: Iterable[NewRegistration], now: datetime) -> list[Registered]:
    """Register the leaf of each, or none of them; one that is registered just so already stays as it is."""
    split = [(each, *_usable_leaf(each, now)) for each in new]
    with store.change() as change:
        added = [_register(change, each, leaf, chain, now) for each, leaf, chain in split]
    return list(_registered(store, added, now))


def _usable_leaf(new: NewRegistration, now: datetime) -> tuple[Certificate | None, list[Certificate]]:
    if new.kind is RegistrationKind.IDENTITY and not new.certificates:
        return None, []
    leaf, chain = split_leaf(new.certificates, new.source)
    if leaf.not_after < now:
        message = f"the certificate expired on {leaf.not_after:%Y-%m-%d %H:%M:%SZ} ({new.source})"
        raise ConfigError(message, hint="renew it")
    return leaf, chain


def _register(
    change: Change, new: NewRegistration, leaf: Certificate | None, chain: list[Certificate], now: datetime
) -> tuple[StoredRegistration, bool]:
    """The registration, and whether it is new."""
    settings: dict[str, Any] = {name: getattr(new, name) for name in ("label", "kind", "valid_from", "valid_until")}
    if new.kind is RegistrationKind.IDENTITY:
        settings["identity"] = _identity(new.identity, leaf)
        settings["anchor_sha256"] = _anchor(change.connection, new, leaf, chain, now)
    try:
        added = registrations.register(change.connection, new.organization, new.user, leaf, chain, **settings, now=now)
    except StoreError as error:
        if error.kind is not Problem.CERTIFICATE_REGISTERED:
            raise
        present = get_registration(change.connection, int(str(error.about["id"])))
        other = any(getattr(present.registration, name) != value for name, value in settings.items())
        if other or present.user != new.user:
            raise
        return present, False
    change.record("add", thing(added), new.organization, after=described_registration(added))
    return added, True


def _identity(given: str | None, leaf: Certificate | None) -> str:
    """The name that is registered: the one given, or the only one that the leaf has."""
    names = () if leaf is None else pki.identities_of(leaf)
    if given is None:
        if len(names) != 1:
            stated = " and ".join(names) or "no name that can be registered"
            raise ConfigError(f"the certificate has {stated}", kind=Problem.NAME_NOT_CLEAR)
        return names[0]
    check_identity(given)
    if leaf is not None and given not in names:
        stated = ", ".join(names) or "none that can be registered"
        raise ConfigError(f"the certificate does not have the name {given}; it has {stated}", hint="compare the two")
    return given


def check_identity(name: str) -> None:
    """Raise `ConfigError` for a name without one of the types."""
    kind, _, value = name.partition(":")
    if kind not in pki.IDENTITY_TYPES or not value or len(name) > MAX_IDENTITY:
        hint = f"write its type before it, one of {', '.join(pki.IDENTITY_TYPES)}: uri:spiffe://acme/alice"
        raise ConfigError(f"{name} is no name that can be registered", hint=hint)


def _anchor(
    connection: Connection, new: NewRegistration, leaf: Certificate | None, chain: list[Certificate], now: datetime
) -> bytes:
    """The SHA-256 of the anchor below which the name counts: the one given, or the one of the leaf's path."""
    anchors = [anchor.certificate for anchor in ANCHORS.list(connection, new.organization)]
    if new.anchor is None and leaf is not None:
        known = [stored.certificate for stored in INTERMEDIATES.list(connection, new.organization)]
        policy = pki.service_policy(get_organization(connection, new.organization).path)
        try:
            path = pki.verify_path(leaf, chain, pki.TrustStore(anchors, known), None, now, policy)
        except Refused as refusal:
            hint = "trust its CA first, or say which anchor is meant"
            raise ConfigError(f"the certificate does not verify: {refusal}", hint=hint) from refusal
        return path.anchor.certificate.sha256
    if new.anchor is None:
        raise ConfigError("a name counts below one anchor", kind=Problem.ANCHOR_NOT_NAMED)
    matching = {ca.sha256 for ca in anchors if ca.sha256.hex().startswith(new.anchor.lower())}
    return only(matching, f"anchor of {new.organization}", new.anchor, Problem.CERTIFICATE_UNKNOWN)


def retire(store: AuditedStore, key: int, at: datetime) -> StoredRegistration:
    """End a registration at `at`; one that ended before stays ended then."""
    return _changed(store, "retire", key, lambda connection: registrations.retire(connection, key, at))


def change_registration(store: AuditedStore, key: int, changed: Mapping[str, object], now: datetime) -> Registered:
    """Change label, valid_from or valid_until of a registration; None takes a time away."""
    stored = _changed(store, "change", key, lambda connection: set_registration(connection, key, changed, now))
    return next(_registered(store, [(stored, False)], now))


def _changed(
    store: AuditedStore, action: str, key: int, write: Callable[[Connection], StoredRegistration]
) -> StoredRegistration:
    """What became of a registration; what changes nothing is not recorded."""
    with store.change() as change:
        former = get_registration(change.connection, key)
        stored = write(change.connection)
        if stored != former:
            before, after = described_registration(former), described_registration(stored)
            change.record(action, thing(stored), stored.organization, before=before, after=after)
    return stored


def thing(stored: StoredRegistration) -> str:
    """What the audit log calls a registration: `certificate 3f2a…`, by its SHA-256, or `identity uri:…`."""
    registration = stored.registration
    digest = registration.spki_sha256 if registration.kind is RegistrationKind.KEY else registration.sha256
    return f"{registration.kind} {registration.identity or (digest or b'').hex()}"


def reinstate(store: AuditedStore, key: int, now: datetime) -> Registered:
    """Undo the retirement of a registration; one that is not retired stays as it is."""
    undone: Mapping[str, object] = {"retired_at": None}
    stored = _changed(store, "reinstate", key, lambda connection: set_registration(connection, key, undone, now))
    return next(_registered(store, [(stored, False)], now))


def _registered(store: Store, added: Iterable[tuple[StoredRegistration, bool]], now: datetime) -> Iterator[Registered]:
    """What is to be said of registrations, and whether each is new; what a path needs is read once for all."""
    crls = store.crl_store()
    trusts: dict[str, TrustStore | Refused] = {}
    for stored, new in added:
        if stored.organization not in trusts:
            trusts[stored.organization] = trust_of(store, store.organization(stored.organization))
        leaf = stored.leaf
        elsewhere = [] if leaf is None else store.registered_elsewhere(stored.organization, leaf.sha256)
        yield Registered(stored, elsewhere, _problem(stored, trusts[stored.organization], crls, now), new)


def trust_of(store: Store, organization: Organization) -> TrustStore | Refused:
    """What the organization's paths are verified with, or why none can be."""
    anchors = [anchor.certificate for anchor in store.anchors(organization.name)]
    known = [intermediate.certificate for intermediate in store.intermediates(organization.name)]
    try:
        return pki.TrustStore(anchors, known, policy=pki.service_policy(organization.path))
    except Refused as refusal:
        return refusal


def _problem(stored: StoredRegistration, trust: TrustStore | Refused, crls: CrlStore, now: datetime) -> Refused | None:
    """Why the certificate would be refused now, None if it would not."""
    try:
        if isinstance(trust, Refused):
            raise trust
        if stored.leaf is None:
            return None
        chain = [pki.Certificate.parse(der) for der in stored.registration.chain]
        pki.verify_path(stored.leaf, chain, trust, crls, now, trust.policy)
    except Refused as refusal:
        return refusal
    return None


def renewals_of(store: Store, retired: StoredRegistration) -> list[StoredRegistration]:
    """The registrations of the user that would still admit the key, or a name, of a certificate that was retired."""
    if retired.leaf is None:
        return []
    with store.reading() as connection:
        return registrations.renewals_of(connection, retired.registration, retired.leaf)


def split_leaf(certificates: Sequence[Certificate], source: object) -> tuple[Certificate, list[Certificate]]:
    """The one certificate that issued none of the others, and the others. Raises `ConfigError` without one."""
    issuers = {certificate.issuer for certificate in certificates if not certificate.self_issued}
    leaves = [
        certificate
        for certificate in certificates
        if len(certificates) == 1 or (certificate.subject not in issuers and not certificate.extensions.ca)
    ]
    if len(leaves) != 1:
        what = "no certificate of a user" if not leaves else f"{len(leaves)} certificates of users"
        hint = "give one leaf and the CA certificates above it, in any order"
        raise ConfigError(f"{source} holds {what}", hint=hint)
    leaf = leaves[0]
    if leaf.extensions.ca:
        raise ConfigError(f"{source} holds a CA certificate, not a user's", kind=Problem.IS_A_CA)
    if leaf.self_issued:
        hint = "only certificates issued by a CA count"
        raise ConfigError(f"{source} holds a self-signed certificate", hint=hint)
    return leaf, [certificate for certificate in certificates if certificate is not leaf]
