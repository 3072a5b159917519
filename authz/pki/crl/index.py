"""The certificates that a CRL lists, behind a small interface, so that large CRLs can use another structure.

False positives are tolerable (a good certificate is refused); a false negative would accept a revoked
certificate and must be impossible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from authz.pki.crl.bounds import memory_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.pki.x509.distinguished_name import Name

REMOVE_FROM_CRL: Final = 8
"""The reason code that takes a certificate off the base CRL; of delta CRLs only (RFC 5280 section 5.3.1)."""


@dataclass(frozen=True, slots=True)
class RevokedEntry:
    """The entry of a certificate that is listed; `reason` is its reason code, None without one."""

    reason: int | None = None

    @property
    def removes(self) -> bool:
        """Whether the entry takes the certificate off the list."""
        return self.reason == REMOVE_FROM_CRL


ENTRY_MEMORY: Final = 240
"""Bytes of overhead of an entry, besides serial number and name of the issuer: measured 100 to 220."""


class CrlIndex(Protocol):
    """Finds a certificate by serial number and issuer."""

    @property
    def memory(self) -> int:
        """Bytes that it takes in each process, besides those shared with others."""
        ...

    def find(self, serial: int, issuer: Name) -> RevokedEntry | None:
        """The entry of the certificate of `issuer` with `serial`, or None if it is not listed."""
        ...

    def __len__(self) -> int:
        """How many certificates are listed."""
        ...


def _memory_of(serial: int) -> int:
    return ENTRY_MEMORY + (serial.bit_length() >> 3)


class SerialIndex:
    """The index of a CRL for certificates of one issuer: serial number to reason code."""

    __slots__ = ("_issuer", "_reasons", "memory")

    def __init__(self, issuer: Name, entries: Iterable[tuple[int, int | None]]) -> None:
        self._issuer = issuer
        self._reasons: dict[int, int | None] = {}
        for serial, reason in entries:
            if serial not in self._reasons or reason != REMOVE_FROM_CRL:
                self._reasons[serial] = reason
        self.memory = sum(map(_memory_of, self._reasons))

    def find(self, serial: int, issuer: Name) -> RevokedEntry | None:
        """The entry of `serial`, if `issuer` is the issuer of this CRL."""
        if serial not in self._reasons or issuer != self._issuer:
            return None
        return RevokedEntry(self._reasons[serial])

    def __len__(self) -> int:
        return len(self._reasons)


class IndirectIndex:
    """The index of an indirect CRL: entries by certificate issuer and serial number (RFC 5280 section 5.3.3)."""

    __slots__ = ("_entries", "memory")

    def __init__(self, entries: Iterable[tuple[Name, int, int | None]]) -> None:
        self._entries: dict[tuple[Name, int], int | None] = {}
        for issuer, serial, reason in entries:
            if (issuer, serial) not in self._entries or reason != REMOVE_FROM_CRL:
                self._entries[issuer, serial] = reason
        names = {id(issuer): issuer for issuer, _ in self._entries}
        self.memory = sum(map(memory_of, names.values())) + sum(_memory_of(serial) for _, serial in self._entries)

    def find(self, serial: int, issuer: Name) -> RevokedEntry | None:
        """The entry of that certificate issuer's serial."""
        key = (issuer, serial)
        return RevokedEntry(self._entries[key]) if key in self._entries else None

    def __len__(self) -> int:
        return len(self._entries)
