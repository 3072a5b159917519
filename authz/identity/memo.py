"""Claims that were read and found an organization's own, remembered for it. Never what was decided about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from authz.identity.claims import MAX_CLAIMS, ReadClaims
from authz.pki.cache import Cache, weigh

if TYPE_CHECKING:
    from collections.abc import Hashable

    from authz.pki.cache import SharedCache


class _Claims(Cache["Hashable", ReadClaims]):
    """One organization's."""

    __slots__ = ()


class ClaimsMemo:
    """For each organization, claims by what they were read from; a key says by its kind what read them."""

    def __init__(self, memory: SharedCache) -> None:
        self._memory = memory

    def get(self, organization: int, key: Hashable) -> ReadClaims | None:
        """The claims remembered for the organization of that number, or None."""
        tenant = self._memory.tenants.get(organization)
        claims = None if tenant is None else tenant.parts.get(_Claims)
        entry = None if claims is None else claims.entries.get(key)
        if entry is None:
            return None
        entry.used = True
        return entry.value  # type: ignore[no-any-return] # it is one of `_Claims`

    def put(self, organization: int, key: Hashable, claims: ReadClaims) -> None:
        """Remember claims that were the organization's own and valid, and no others: strangers fill nothing."""
        weight = claims.weight
        if weight <= MAX_CLAIMS:
            self._memory.part(organization, _Claims).put(key, claims, weigh(key) + weight)
