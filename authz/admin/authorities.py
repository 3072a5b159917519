"""Anchors and intermediates: added and removed, in one organization or, for None, in all.

Every function raises `ConfigError` or `Refused` for certificates that cannot be used, and `StoreError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from authz.directory import Store
from authz.errors import ConfigError, Problem, Refused
from authz.pki import AlgorithmRules, Certificate, service_policy
from authz.pki.x509.algorithms import DEFAULT_ALGORITHMS

remove_anchor, remove_intermediate = Store.remove_anchor, Store.remove_intermediate


def add_anchors(
    store: Store, organization: str | None, certificates: Sequence[Certificate], source: object
) -> list[Certificate]:
    """Trust the CA certificates of a source, which errors name; returns those that were new."""
    return store.add_anchors(organization, _usable_cas(store, organization, certificates, source))


def add_intermediates(
    store: Store, organization: str | None, certificates: Sequence[Certificate], source: object
) -> list[Certificate]:
    """Know the CA certificates of a source, which errors name; returns those that were new."""
    return store.add_intermediates(organization, _usable_cas(store, organization, certificates, source))


def _usable_cas(
    store: Store, organization: str | None, certificates: Sequence[Certificate], source: object
) -> Sequence[Certificate]:
    """The certificates, each of which can be a CA, with a key that the organization accepts; any one, for None."""
    owners = store.organizations() if organization is None else [store.organization(organization)]
    accepted = [service_policy(owner.path).algorithms for owner in owners]
    if organization is None:
        accepted.append(DEFAULT_ALGORITHMS)
    for certificate in certificates:
        if certificate.v3 and not certificate.extensions.ca:
            message = f"{source} holds the certificate of {certificate.subject.text}, which is no CA"
            raise ConfigError(message, kind=Problem.IS_NO_CA)
        _check_key(certificate, accepted)
    return certificates


def _check_key(certificate: Certificate, accepted: Sequence[AlgorithmRules]) -> None:
    """A key that none of the rules accepts is reported now, not at the first request. Raises `Refused`."""
    certificate.public_key  # noqa: B018 - one that cannot be read is reported as well
    *others, last = accepted
    for rules in others:
        with suppress(Refused):
            return rules.check_key(certificate.key, certificate.der, stored=True)
    return last.check_key(certificate.key, certificate.der, stored=True)
