"""Registered certificates: added and retired.

Every function raises `ConfigError` for certificates that cannot be used, and `StoreError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from authz.directory import Store
from authz.directory.registrations import StoredRegistration
from authz.errors import ConfigError, Problem, Refused
from authz.pki import Certificate, TrustAnchor, TrustStore, service_policy, verify_path

retire = Store.retire


@dataclass(frozen=True, slots=True)
class NewRegistration:
    """A leaf to be registered for a user, with the CA certificates beside it, in any order.

    `source` is where the certificates come from, for errors to name.
    """

    organization: str
    user: str
    certificates: Sequence[Certificate]
    source: object
    label: str = ""
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Registered:
    """What was registered; the other organizations that have the leaf, too; why it would be refused now, if it would.

    A leaf elsewhere may be an attempt to take another's public certificate for one's own, so the operator is to see it.
    """

    registration: StoredRegistration
    elsewhere: list[str]
    problem: Refused | None


def register(store: Store, new: NewRegistration, now: datetime) -> Registered:
    """Register the leaf among certificates for a user."""
    leaf, chain = split_leaf(new.certificates, new.source)
    if leaf.not_after < now:
        raise ConfigError(f"the certificate expired on {leaf.not_after:%Y-%m-%d %H:%M:%SZ}", hint="renew it")
    added = store.register(
        new.organization,
        new.user,
        leaf,
        chain,
        label=new.label,
        valid_from=new.valid_from,
        valid_until=new.valid_until,
        now=now,
    )
    elsewhere = store.registered_elsewhere(new.organization, leaf.sha256)
    return Registered(added, elsewhere, _problem(store, new.organization, leaf, chain, now))


def _problem(
    store: Store, organization: str, leaf: Certificate, chain: list[Certificate], now: datetime
) -> Refused | None:
    """Why the certificate would be refused now, None if it would not."""
    try:
        anchors = [TrustAnchor(anchor.certificate) for anchor in store.anchors(organization)]
        known = [intermediate.certificate for intermediate in store.intermediates(organization)]
        policy = service_policy(store.organization(organization).path)
        verify_path(leaf, chain, TrustStore(anchors, known), store.crl_store(), now, policy)
    except Refused as refusal:
        return refusal
    return None


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
