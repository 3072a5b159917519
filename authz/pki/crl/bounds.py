"""Bounds on a CRL without its entries, checked before anything makes objects of it, and the memory that names take.

An attacker who answers in a CRL server's place controls all of this, and no signature has been verified yet: one pass
over the DER, linear in its length, refuses a CRL that would cost too much.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_HEADER: Final = 64 * 1024
"""Bytes of a CRL outside `revokedCertificates`: CRLs in use have a few hundred, 1,000 with an RSA signature."""

MAX_NAME: Final = 4 * 1024
"""Bytes of a CRL's issuer, of one name of a distribution point, and of all names of an entry's certificate issuer."""

MAX_NAMES: Final = 200
"""Names of a CRL's issuing distribution point: CRLs in use have one to four."""

MAX_EXTENSIONS: Final = 64
"""Extensions of a CRL: RFC 5280 section 5.2 knows seven."""

MAX_ENTRY_NAMES: Final = 16
"""Names of an entry's certificate issuer, of which one is a directory name (RFC 5280 section 5.3.3)."""

NAME_MEMORY: Final = 640
"""Bytes of overhead of a name that was read and used as a key: measured 500."""

RDN_MEMORY: Final = 72
"""Bytes of overhead of each RDN of a name."""

ISSUING_POINT: Final = bytes.fromhex("551d1c")
"""The content of the identifier of an issuing distribution point (RFC 5280 section 5.2.5)."""

_NAME_OF_POINT: Final = 0xA0  # its distributionPoint [0]


def check_size(data: bytes, entries: int) -> None:
    """Raises `ValueError` for more than `MAX_HEADER` bytes besides `entries` bytes of entries."""
    if len(data) - entries > MAX_HEADER:
        raise ValueError(f"{len(data) - entries} bytes outside revokedCertificates, and {MAX_HEADER} are allowed")


def check_issuer(start: int, end: int) -> None:
    """Raises `ValueError` for an issuer whose name has more than `MAX_NAME` bytes between the offsets."""
    if end - start > MAX_NAME:
        raise ValueError(f"an issuer with a name of {end - start} bytes, and {MAX_NAME} are allowed")


def check_extensions(data: bytes, start: int, end: int) -> None:
    """Raises `ValueError` if `crlExtensions`, the content between the offsets, hold too many names or too long ones.

    Only an issuing distribution point counts: names in the others are not read (`CrlHeader`).
    """
    names = 0
    stated = der.elements(data, *der.only(data, der.SEQUENCE, start, end))
    for number, (_, first, last) in enumerate(stated):
        parts = list(islice(der.elements(data, first, last), 4))
        if len(parts) < 2 or number == MAX_EXTENSIONS:
            raise ValueError(f"an extension without a value, or more than {MAX_EXTENSIONS} of them")
        _, at, to = parts[0]
        for _, begin, stop in _issuing_point(data, *parts[-1][1:]) if data[at:to] == ISSUING_POINT else ():
            names += 1
            if names > MAX_NAMES:
                raise ValueError(f"more than {MAX_NAMES} names in a CRL's extensions")
            if stop - begin > MAX_NAME:
                raise ValueError(f"a name of {stop - begin} bytes in a CRL's extensions, and {MAX_NAME} are allowed")


def check_certificate_issuer(value: bytes) -> None:
    """Raises `ValueError` for an entry's certificate issuer of too many bytes or names, or that is not a sequence."""
    if len(value) > MAX_NAME:
        raise ValueError(f"a certificate issuer of {len(value)} bytes in an entry, and {MAX_NAME} are allowed")
    if len(list(der.elements(value, *der.only(value, der.SEQUENCE)))) > MAX_ENTRY_NAMES:
        raise ValueError(f"a certificate issuer of more than {MAX_ENTRY_NAMES} names in an entry")


def _issuing_point(data: bytes, start: int, end: int) -> Iterator[der.Element]:
    """The full names, or the attributes of the relative name."""
    for tag, first, last in der.elements(data, *der.only(data, der.SEQUENCE, start, end)):
        if tag == _NAME_OF_POINT:
            yield from der.elements(data, *der.element(data, first, last)[1:])


def memory_of(name: object) -> int:
    """Bytes that a name takes in a process: a `Name` or one of the library's kinds; never less than measured."""
    if isinstance(name, Name):
        return NAME_MEMORY + 2 * name.size + RDN_MEMORY * len(name.rdns)  # twice, for its text
    return NAME_MEMORY + len(repr(name))
