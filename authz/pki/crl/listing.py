"""Whom a CRL lists: its entries, each with the issuer of the certificate (RFC 5280 section 5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography import x509

from authz.pki.crl.entries import ExtensionReader, entries
from authz.pki.x509.distribution_points import directory_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from authz.pki.crl.entries import EntryExtensions
    from authz.pki.crl.header import CrlHead, Layout
    from authz.pki.x509.distinguished_name import Name

ListedEntry = tuple["Name", bytes, int | None]
"""(issuer of the certificate, content of its serial number in the shortest form, reason code if any)."""

MAX_ISSUERS: Final = 256
"""Names of certificate issuers kept while one CRL is read: entries of one issuer mostly follow one another."""


class Listing:
    """The entries of one CRL, to be walked through once; `unusable` (see `CrlHead`) is told at the end of the walk.

    The walk raises `ValueError`, or what the parser raises, for a CRL that is not well-formed.
    """

    def __init__(self, data: bytes, parsed: x509.CertificateRevocationList, head: CrlHead, layout: Layout) -> None:
        self._data = data
        self._parsed = parsed
        self._head = head
        self._span = layout.start, layout.end
        self.unusable = head.unusable

    def __iter__(self) -> Iterator[ListedEntry]:
        return self._indirect() if self._head.indirect else self._direct()

    def _direct(self) -> Iterator[ListedEntry]:
        """The issuer speaks for its own certificates only."""
        reader, issuer = ExtensionReader(self._data), self._head.issuer
        for serial, start, stop in entries(self._data, *self._span):
            if start == stop:
                yield issuer, serial, None
                continue
            self._head.require_version_2()
            found = reader.read(start, stop)
            self._heed(found)
            if found.names_issuer:
                raise ValueError("an entry names a certificate issuer, but the CRL is not indirect")
            yield issuer, serial, found.reason

    def _indirect(self) -> Iterator[ListedEntry]:
        """5.3.3: an entry without a certificate issuer has the one of the entry before it, the first the CRL's own."""
        reader, issuer = ExtensionReader(self._data), self._head.issuer
        known: dict[bytes, Name] = {}
        for (serial, start, stop), parsed in zip(entries(self._data, *self._span), self._parsed, strict=True):
            found = reader.read(start, stop)
            self._heed(found)
            if found.names_issuer:
                block = self._data[start:stop]
                issuer = known.get(block) or _certificate_issuer(parsed)
                if len(known) < MAX_ISSUERS:
                    known[block] = issuer
            yield issuer, serial, found.reason

    def _heed(self, found: EntryExtensions) -> None:
        """5.3: with a critical entry extension that cannot be processed, a CRL proves nobody good."""
        if found.unknown:
            self.unusable = f"critical extension {found.unknown} of an entry"


def _certificate_issuer(entry: x509.RevokedCertificate) -> Name:
    value = entry.extensions.get_extension_for_class(x509.CertificateIssuer).value
    names = directory_names(value)
    if len(names) != 1:
        raise ValueError("a certificate issuer that is not one directory name")
    return names[0]
