"""Bytes made of rows once, and used while those very rows are at hand: nothing in them says that a request may pass."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from authz.pki.cache import Cache, weigh

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.decision import Allow
    from authz.model import Organization, User
    from authz.pki.cache import SharedCache, Tenant

PART_BYTES: Final = 512
"""What an entry takes besides its text and its rows: two tuples, and a share of the tenant's cache."""


T = TypeVar("T", bound="str | bytes")


class _Part(NamedTuple, Generic[T]):
    organization: Organization
    user: User
    text: T


_Parts = Cache[tuple[int, bytes | None], _Part[T]]


class RowParts(Generic[T]):
    """Texts, or bytes, by organization, user and leaf, in the memory of all tenants; `make` makes one of a decision.

    `make` may look at the decision's organization, its user, and what the bytes of its leaf fix. A row that changed is
    another object: its text is made anew. A leaf is known by its SHA-256.
    """

    def __init__(self, memory: SharedCache, make: Callable[[Allow], T]) -> None:
        self._memory = memory
        self._make = make
        # An object of its own, for the memory keeps a tenant's caches by what made them.
        self._new_cache: Callable[[Tenant], _Parts[T]] = partial(Cache)

    def of(self, decision: Allow) -> T:
        """The text for the rows of a decision."""
        organization, user, certificate, _, _ = decision
        parts = self._memory.part(organization.id, self._new_cache)
        entry = parts.entries.get((user.id, certificate))
        if entry is not None and entry.value.organization is organization and entry.value.user is user:
            entry.used = True
            return entry.value.text
        text = self._make(decision)
        weight = PART_BYTES + len(text) + weigh(organization) + weigh(user)
        parts.put((user.id, certificate), _Part(organization, user, text), weight)
        return text
