"""Which certificates a CRL lists: a small interface, so that a large CRL can answer from another structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from authz.pki.names import Name

REMOVE_FROM_CRL = 8
"""The reason code that takes a certificate off the base CRL; of delta CRLs only (RFC 5280 section 5.3.1)."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry: that the certificate is listed, and the reason code given (None where there is none)."""

    reason: int | None = None


class CrlIndex(Protocol):
    """Looks a certificate up by serial number and issuer."""

    def find(self, serial: int, issuer: Name) -> Listed | None:
        """The entry of the certificate that `issuer` gave `serial`, or None when it is not listed."""
        ...

    def __len__(self) -> int:
        """How many entries there are."""
        ...


class SerialIndex:
    """The index of a CRL that speaks for one issuer only: serial number to reason code."""

    __slots__ = ("_issuer", "_reasons")

    def __init__(self, issuer: Name, reasons: dict[int, int | None]) -> None:
        self._issuer = issuer
        self._reasons = reasons

    def find(self, serial: int, issuer: Name) -> Listed | None:
        """The entry of `serial`, if `issuer` is the one this CRL speaks for."""
        if serial not in self._reasons or issuer != self._issuer:
            return None
        return Listed(self._reasons[serial])

    def __len__(self) -> int:
        return len(self._reasons)


class IndirectIndex:
    """The index of an indirect CRL: entries by issuer and serial number."""

    __slots__ = ("_entries",)

    def __init__(self, entries: dict[tuple[Name, int], int | None]) -> None:
        self._entries = entries

    def find(self, serial: int, issuer: Name) -> Listed | None:
        """The entry of that certificate issuer's serial."""
        key = (issuer, serial)
        return Listed(self._entries[key]) if key in self._entries else None

    def __len__(self) -> int:
        return len(self._entries)
