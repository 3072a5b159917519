"""A cache of parsed claims that proved to be an organization's own. Decisions about them are never cached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.identity.claims import MAX_CLAIMS, ReadClaims
from authz.pki.cache import Cache, weigh

if TYPE_CHECKING:
    from collections.abc import Hashable

    from authz.pki.cache import SharedCache


class _Claims(Cache["Hashable", ReadClaims]):
    """One organization's claims."""

    __slots__ = ()


class ClaimsCache:
    """Per organization, claims by their source: the bytes of a payload, or a verified token."""

    def __init__(self, memory: SharedCache) -> None:
        self._memory = memory

    def get(self, organization: int, key: Hashable) -> ReadClaims | None:
        """The claims cached for the organization with that id, or None."""
        tenant = self._memory.tenants.get(organization)
        claims = None if tenant is None else tenant.parts.get(_Claims)
        entry = None if claims is None else claims.entries.get(key)
        if entry is None:
            return None
        entry.used = True
        return entry.value  # type: ignore[no-any-return] # `_Claims` holds nothing else

    def put(self, organization: int, key: Hashable, claims: ReadClaims) -> None:
        """Cache claims that were the organization's own and valid: unauthenticated clients must not fill the cache."""
        weight = claims.weight
        if weight <= MAX_CLAIMS:
            self._memory.part(organization, _Claims).put(key, claims, weigh(key) + weight)
