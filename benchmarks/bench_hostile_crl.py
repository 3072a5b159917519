"""What hostile CRLs cost: each field at two sizes, as a small one is read and as a large one is indexed and opened.

Twice the bytes may take 2.5 times the time; whatever is refused is refused before it is read. Least of several.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import warnings

from support.certificates import Authority, tlv
from support.hostile_crls import (
    DELTA,
    HEADS,
    MARKS,
    NUMBER,
    PRIVATE,
    REASON,
    URL,
    attribute,
    certificate_issuer,
    directory_name,
    entry,
    extension,
    point,
    signed,
)

from authz.errors import Refused
from authz.pki import Certificate, Crl
from authz.pki.crl.image import make_image, open_image

MAX_RATIO = 2.5
ROUNDS = 7
MOST_ROUNDS = 25
FLOOR = 0.0005
"""Seconds below which a time is the machine's, and nothing is compared."""

HEAD = 28_000
ENTRIES = 200_000
CA = Authority.root("CA")
KEY = Certificate.parse(CA.der).spki_der
INDIRECT = point(URL, indirect=True)
REMOVED = extension(REASON, tlv(0x0A, b"\x08"))


def listing(make: Callable[[int], bytes], size: int) -> bytes:
    """So many bytes of entries."""
    count = size // len(make(10**6))
    return b"".join(make(10**9 + number) for number in range(count))


def issuer(text: str) -> bytes:
    """An entry's certificate issuer."""
    return certificate_issuer(directory_name(attribute(text)))


def inherited(size: int) -> bytes:
    """Removals of certificates of one issuer, whose name is long and stands in the first."""
    first = entry(10**9, issuer("x" * 1_800), REMOVED)
    return first + listing(lambda number: entry(number, REMOVED), size)


LISTINGS: dict[str, Callable[[int], bytes]] = {
    "entries": lambda size: signed(CA, listed=listing(entry, size)),
    "issuers that differ": lambda size: signed(CA, INDIRECT, listed=listing(lambda n: entry(n, issuer(f"{n}")), size)),
    "long issuers that differ": lambda size: signed(
        CA, INDIRECT, listed=listing(lambda n: entry(n, issuer(f"{n}" + "x" * 1_800)), size)
    ),
    "one long issuer of removals": lambda size: signed(
        CA, INDIRECT, extension(DELTA, tlv(2, b"\x01"), critical=True), extension(NUMBER, tlv(2, b"\x05")),
        listed=inherited(size),
    ),
    "unknown extensions of entries": lambda size: signed(
        CA, listed=listing(lambda n: entry(n, extension(PRIVATE, str(n).encode())), size)
    ),
    "one unknown extension of an entry": lambda size: signed(CA, listed=entry(5, extension(PRIVATE, bytes(size)))),
    "one serial number": lambda size: signed(CA, listed=entry(1 << 8 * size)),
}  # fmt: skip

PASSING: dict[str, Callable[[int], bytes]] = {
    "marks that pass": lambda size: signed(
        CA, point(*[directory_name(attribute(("x" + MARKS * 5) * (size // 672)))] * 16)
    ),
    "ligatures that pass": lambda size: signed(CA, point(*[directory_name(attribute("\ufdfa" * (size // 96)))] * 16)),
    "attributes that pass": lambda size: signed(CA, point(*[directory_name(*[attribute("x")] * (size // 1_000))] * 16)),
    "marks in the issuer's name": lambda size: signed(
        CA, issuer=tlv(0x30, attribute(("x" + MARKS * 5) * (size // 672)))
    ),
}
"""Long names below the bounds: sixteen of up to 1,800 bytes each."""


def small(data: bytes) -> None:
    """As a service reads it."""
    with contextlib.suppress(Refused):
        Crl(data)


def large(data: bytes) -> None:
    """As the process that indexes reads it, and a service opens the image."""
    with contextlib.suppress(Refused):
        open_image(b"".join(make_image(data, [KEY], bytes(32))))


def cases() -> Iterator[tuple[str, Callable[[bytes], None], Callable[[int], bytes], int]]:
    """Name, how it is read, what makes it of a size, and the smaller size."""
    for name, extensions in HEADS.items():
        yield name, small, lambda size, make=extensions: signed(CA, *make(size)), HEAD  # type: ignore[misc]
    for name, make in PASSING.items():
        yield name, small, make, HEAD
    for name, make in LISTINGS.items():
        yield name, small, make, ENTRIES // 8
        yield f"{name}, indexed", large, make, ENTRIES


def least(read: Callable[[bytes], None], *crls: bytes) -> tuple[float, float]:
    """CPU seconds of the smaller and of the larger, in turns; on a busy machine more often, until the ratio fits."""
    found = [float("inf")] * len(crls)
    for number in range(MOST_ROUNDS):
        for at, data in enumerate(crls):
            began = time.thread_time()
            read(data)
            found[at] = min(found[at], time.thread_time() - began)
        if number >= ROUNDS and found[1] <= MAX_RATIO * max(found[0], FLOOR):
            break
    return found[0], found[1]


def main() -> int:
    """0 unless something takes more than twice as long for twice as much, and a half more."""
    warnings.simplefilter("ignore")
    gc.disable()  # its rounds fall into one size or the other by chance
    bad = 0
    for name, read, make, size in cases():
        once, twice = least(read, make(size), make(2 * size))
        ratio = twice / max(once, FLOOR)
        bad += ratio > MAX_RATIO
        print(f"{name:46} {2 * size / 1000:7.0f} kB {twice * 1000:8.2f} ms {ratio:6.2f}{' !' * (ratio > MAX_RATIO)}")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
