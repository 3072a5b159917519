"""Anchors and intermediates: added and removed, in one organization or, for None, in all.

Every function raises `ConfigError` or `Refused` for certificates that cannot be used, and `StoreError`.
"""

from __future__ import annotations

from collections.abc import Sequence

from authz.directory import Store
from authz.errors import ConfigError, Problem
from authz.pki import Certificate

remove_anchor, remove_intermediate = Store.remove_anchor, Store.remove_intermediate


def add_anchors(
    store: Store, organization: str | None, certificates: Sequence[Certificate], source: object
) -> list[Certificate]:
    """Trust the CA certificates of a source, which errors name; returns those that were new."""
    return store.add_anchors(organization, _usable_cas(certificates, source))


def add_intermediates(
    store: Store, organization: str | None, certificates: Sequence[Certificate], source: object
) -> list[Certificate]:
    """Know the CA certificates of a source, which errors name; returns those that were new."""
    return store.add_intermediates(organization, _usable_cas(certificates, source))


def _usable_cas(certificates: Sequence[Certificate], source: object) -> Sequence[Certificate]:
    """The certificates, each of which can be a CA."""
    for certificate in certificates:
        if certificate.v3 and not certificate.extensions.ca:
            message = f"{source} holds the certificate of {certificate.subject.text}, which is no CA"
            raise ConfigError(message, kind=Problem.IS_NO_CA)
        certificate.public_key  # noqa: B018 - a key that policy refuses is reported now, not at the first request
    return certificates
