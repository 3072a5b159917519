"""Which certificates a CRL lists: a small interface, so that a large CRL can answer from another structure.

An index is built from the walk of `authz.pki.crl.entries` over DER whose signature verified. It may err to
one side only: a hit that is none refuses a good certificate, a miss that is none would accept a revoked one.
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
class Listed:
    """One entry: that the certificate is listed, and the reason code given (None where there is none)."""

    reason: int | None = None

    @property
    def removes(self) -> bool:
        """Whether the entry says that the certificate is listed no longer."""
        return self.reason == REMOVE_FROM_CRL


ENTRY_MEMORY: Final = 240
"""Bytes that an entry takes beside its serial number and the name of its issuer: measured 100 to 220."""


class CrlIndex(Protocol):
    """Looks a certificate up by serial number and issuer; `memory` is what it takes in each process, in bytes."""

    @property
    def memory(self) -> int:
        """Bytes that are not shared with other processes."""
        ...

    def find(self, serial: int, issuer: Name) -> Listed | None:
        """The entry of the certificate that `issuer` gave `serial`, or None when it is not listed."""
        ...

    def __len__(self) -> int:
        """How many certificates are listed."""
        ...


def _memory_of(serial: int) -> int:
    return ENTRY_MEMORY + (serial.bit_length() >> 3)


class SerialIndex:
    """The index of a CRL that speaks for one issuer only: serial number to reason code."""

    __slots__ = ("_issuer", "_reasons", "memory")

    def __init__(self, issuer: Name, entries: Iterable[tuple[int, int | None]]) -> None:
        self._issuer = issuer
        self._reasons: dict[int, int | None] = {}
        for serial, reason in entries:
            if serial not in self._reasons or reason != REMOVE_FROM_CRL:
                self._reasons[serial] = reason
        self.memory = sum(map(_memory_of, self._reasons))

    def find(self, serial: int, issuer: Name) -> Listed | None:
        """The entry of `serial`, if `issuer` is the one this CRL speaks for."""
        if serial not in self._reasons or issuer != self._issuer:
            return None
        return Listed(self._reasons[serial])

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

    def find(self, serial: int, issuer: Name) -> Listed | None:
        """The entry of that certificate issuer's serial."""
        key = (issuer, serial)
        return Listed(self._entries[key]) if key in self._entries else None

    def __len__(self) -> int:
        return len(self._entries)
