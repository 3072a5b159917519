"""What things take once they are read, in bytes of a 64-bit CPython: measured, and rounded up.

`tests/pki/cache/test_weights.py` compares each figure with the worst that a certificate can hold of its kind.
"""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from authz.model import DEFAULT_PATHS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.pki.x509.distinguished_name import Name
    from authz.pki.x509.distribution_points import Points
    from authz.pki.x509.extensions import Extensions

MAX_DER: Final = 16 * 1024
"""Bytes of a certificate in DER above which it is not remembered; those in use have 0.4 to 3 KB."""

MAX_CERTIFICATE: Final = 64 * 1024
"""What a certificate may take once it is read, if it is to be remembered."""

CERTIFICATE_BYTES: Final = 3_400
"""A certificate without what is counted below, its key and digests, every attribute read."""

TEXTS: Final = 3
"""Its DER, and what texts in it become: a name is kept as stated and as compared."""

NAME_BYTES: Final = 14
"""For each byte of a distinguished name's `size`: an e-mail attribute of 20 bytes becomes two texts and a tuple."""

GENERAL_NAME_BYTES: Final = 450
"""A general name, in the library's form and as it is compared, besides its text."""

ATTRIBUTE_BYTES: Final = 950
"""One attribute of a directory name among them."""

TEXT_BYTES: Final = 12
"""For each character of such an attribute: four bytes in two texts, and the text's own."""

IDENTIFIER_BYTES: Final = 140
"""An object identifier as text, in a set that has just grown; a mapping has two in a tuple."""

POINT_BYTES: Final = 950
"""A distribution point besides its names, as stated and as it is worked with."""


_PLAIN: Final = frozenset((str, int, bytes, bool, type(None)))
_CONTAINERS: Final = (list, tuple, set, frozenset)


def extensions_weight(extensions: Extensions) -> int:
    """What extensions take besides the texts in them, of which there are as many bytes as in the DER."""
    identifiers = (
        len(extensions.extended_key_usage or ()) + len(extensions.policies or ()) + 3 * len(extensions.mappings)
    )
    weight = IDENTIFIER_BYTES * (identifiers + len(extensions.unknown_critical))
    for names in (extensions.names, extensions.issuer_names, extensions.permitted, extensions.excluded):
        weight += _names_weight(names)
    for point in (*extensions.distribution_points, *extensions.freshest_crl):
        weight += POINT_BYTES + _names_weight(point.full_name or ()) + _names_weight(point.crl_issuer or ())
    return weight


def name_weight(name: Name) -> int:
    """What a distinguished name takes, with its text."""
    return NAME_BYTES * name.size + 150 * len(name.rdns)


def points_weight(points: Points) -> int:
    """What the points of a certificate take as they are worked with, if they are `small`."""
    return len(points) * POINT_BYTES + sum(len(point.names) + len(point.crl_issuers) for point in points) * 250


def _names_weight(names: Iterable[x509.GeneralName]) -> int:
    weight = 0
    for name in names:
        weight += GENERAL_NAME_BYTES
        if isinstance(name, x509.DirectoryName):
            weight += sum(ATTRIBUTE_BYTES + TEXT_BYTES * len(attribute.value) for attribute in name.value)
    return weight


def weigh(value: object, limit: int = sys.maxsize) -> int:
    """What a plain value takes, with all it is made of: texts, numbers, containers and data classes of such.

    Nothing is added up beyond `limit`, nor for `DEFAULT_PATHS`, which all share.
    """
    weight = 0
    todo: list[Any] = [value]
    while todo and weight <= limit:
        part = todo.pop()
        if part is DEFAULT_PATHS:
            continue
        weight += sys.getsizeof(part) + 16
        kind: Any = type(part)
        if kind in _PLAIN:
            continue
        if isinstance(part, dict):
            todo += [*part, *part.values()]
        elif isinstance(part, _CONTAINERS):
            todo += part
        elif names := _fields(kind):
            todo += [getattr(part, name) for name in names]
    return weight


@cache
def _fields(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind)) if is_dataclass(kind) else ()
