"""What is recalled of a certificate's extensions against what the library reads of them."""

from __future__ import annotations

from collections.abc import Iterable

from authz.errors import Refused
from authz.pki.cache.extensions import get_extensions, put_extensions
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.extensions import Extensions, read_extensions

Said = dict[str, object]
"""What is said but by key identifier and alternative names."""


def field_of(der: bytes) -> bytes:
    """The extensions field of a certificate. Raises `Refused`."""
    return Certificate.parse(der)._layout.extensions


def said(der: bytes) -> Said | None:
    """What is read without recalling anything; None where it is refused."""
    try:
        return _shared(_read(der))
    except Refused:
        return None


def _read(der: bytes) -> Extensions:
    certificate = Certificate.parse(der)
    return read_extensions(certificate._layout.extensions, v3=certificate.v3)


def recall(der: bytes, known: dict[bytes, Extensions]) -> Said | None:
    """What is recalled of it; None where nothing is."""
    try:
        found = get_extensions(field_of(der), known)
    except Refused:
        return None
    return None if found is None else _shared(found)


def _shared(found: Extensions) -> Said:
    own = {"names", "unread_kinds", "subject_key_id", "recalled", "points", "like_tags", "weight"}
    return {key: value for key, value in vars(found).items() if key not in own}


def compare(ders: Iterable[bytes]) -> int:
    """Learn from all that the library reads, then compare; how many were recalled."""
    ders = list(ders)
    known: dict[bytes, Extensions] = {}
    for der in ders:
        try:
            some: dict[bytes, Extensions] = {}
            put_extensions(field_of(der), _read(der), None, some)
            known.update(some)
        except Refused:
            continue
    hits = 0
    for der in ders:
        found = recall(der, known)
        if found is not None:
            assert found == said(der), der.hex()
            hits += 1
    return hits
