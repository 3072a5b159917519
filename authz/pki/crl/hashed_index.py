"""The index of a large CRL: eight octets an entry in one buffer, which may be memory shared with other processes.

A certificate is known by a 64-bit hash, under a key that is chance and the buffer's own, of its issuer and
serial number. A hit counts as a listing: with a million entries one look-up in 10^13 finds a certificate
that is not there, a certificate that is there is always found, and nobody who does not know the key can
choose a serial number that collides. A removal (removeFromCRL, of a delta) would make a revoked certificate
good, so that of the entries that remove the serial number is kept as it is, with the SHA-256 of the issuer, and
compared octet by octet: a name that many entries share, as long as a CA likes, takes its room once.

The buffer, in the byte order of the machine that made it:

| octets | what |
|---|---|
| 8 | magic |
| 8 | L, how many hashes are listed |
| 8 | B: the hashes are in 2^B parts by their first B bits |
| 8 | R, how many certificates are removed |
| 8 | K, octets of their keys |
| 32 | the key of the hash |
| 32 | SHA-256 of everything before and behind |
| 8 L | the hashes listed, ascending |
| 8 R | the hashes of the removed, ascending |
| 8 R | where each one's key ends |
| 4 (2^B + 1) | where each part of the hashes begins, and where the last one ends |
| K | the keys: SHA-256 of the issuer, serial number, and how long that is |

A part holds 8 to 16 hashes, so that an entry takes at most 8.5 octets. Reason codes are not kept.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from hashlib import blake2b, sha256
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from authz.pki.crl.index import REMOVE_FROM_CRL, Listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.pki.crl.listing import ListedEntry
    from authz.pki.x509.distinguished_name import Name

MAGIC: Final = b"AUTHZIX2"
KEY_OCTETS: Final = 32

_HEADER: Final = struct.Struct(f"=8sQQQQ{KEY_OCTETS}s")
_DIGEST_OCTETS: Final = 32
_START: Final = _HEADER.size + _DIGEST_OCTETS

_HASH_BITS: Final = 64
_PART_BITS: Final = 3
"""A part of the hashes holds this many bits' worth of them, or up to twice as many."""

MAX_REMOVED: Final = 1 << 18
"""Certificates that one delta takes off a list, each of which takes 300 bytes while the index is made."""

_LISTED: Final = Listed()
_REMOVED: Final = Listed(REMOVE_FROM_CRL)

_BUCKETS: Final = 256
"""In how many steps hashes are sorted, so that few of them are objects at the same time."""


class HashedIndex:
    """The `CrlIndex` that a buffer holds. `digest` (32 bytes) is the identity of its content.

    The buffer must not change: its digest is compared once, here. Raises `ValueError` for a buffer that
    is anything but what `build` made.
    """

    __slots__ = ("_ends", "_hasher", "_keys", "_listed", "_parts", "_removed", "_shift", "buffer", "digest")

    memory = 2048
    """Bytes that it takes in each process beside the buffer: measured 1,500."""

    def __init__(self, buffer: bytes | memoryview) -> None:
        view = self.buffer = memoryview(buffer).toreadonly().cast("B")
        if len(view) < _START:
            raise ValueError("an index that is cut short")
        magic, listed, bits, removed, keys, key = _HEADER.unpack_from(view)
        if magic != MAGIC or bits != _bits(listed):
            raise ValueError("no index, or one of another version")
        sizes = _DIGEST_OCTETS, 8 * listed, 8 * removed, 8 * removed, 4 * (2**bits + 1), keys
        *ends, end = accumulate(sizes, initial=_HEADER.size)
        if end != len(view):
            raise ValueError("an index of another length")
        self.digest = bytes(view[_HEADER.size : _START])
        if _digest(view[: _HEADER.size], [view[_START:]]) != self.digest:
            raise ValueError("an index whose content is not what was made")
        self._hasher = blake2b(digest_size=8, key=key)
        self._shift = _HASH_BITS - bits
        self._listed = view[ends[1] : ends[2]].cast("Q")
        self._removed = view[ends[2] : ends[3]].cast("Q")
        self._ends = view[ends[3] : ends[4]].cast("Q")
        self._parts = view[ends[4] : ends[5]].cast("I")
        self._keys = view[ends[5] :]

    def find(self, serial: int, issuer: Name) -> Listed | None:
        """The entry of that issuer's serial; of one that is listed and removed, that it is listed."""
        magnitude = serial if serial >= 0 else ~serial
        end_of_message = _end_of_message(serial.to_bytes((magnitude.bit_length() >> 3) + 1, "big", signed=True))
        hasher = self._hasher.copy()
        hasher.update(issuer + end_of_message)
        wanted = int.from_bytes(hasher.digest(), "big")
        part = wanted >> self._shift
        end = self._parts[part + 1]
        at = bisect_left(self._listed, wanted, self._parts[part], end)
        if at < end and self._listed[at] == wanted:
            return _LISTED
        removed = self._removed and self._removes(wanted, sha256(issuer).digest() + end_of_message)
        return _REMOVED if removed else None

    def _removes(self, wanted: int, message: bytes) -> bool:
        at = bisect_left(self._removed, wanted)
        while at < len(self._removed) and self._removed[at] == wanted:
            if self._keys[self._ends[at - 1] if at else 0 : self._ends[at]] == message:
                return True
            at += 1
        return False

    def __len__(self) -> int:
        return len(self._listed) + len(self._removed)


def build(entries: Iterable[ListedEntry], key: bytes, *, delta: bool) -> list[bytes]:
    """The pieces of the buffer of an index over `entries`, walked through once.

    `key` is 32 octets of chance, never used before. In a CRL that is not a `delta` an entry that removes
    its certificate lists it: there the reason has no meaning (RFC 5280 section 5.3.1). Raises `ValueError`
    for a key of another length, and for more than `MAX_REMOVED` removals.
    """
    if len(key) != KEY_OCTETS:
        raise ValueError("a key of another length")
    hasher = blake2b(digest_size=8, key=key)
    buckets = [bytearray() for _ in range(_BUCKETS)]
    removals: dict[bytes, int] = {}
    last: Name | None = None
    for issuer, serial, reason in entries:
        if issuer is not last:
            # Once for all entries that follow one another: a name may be a hundred times as long as an entry.
            last, digest_of_issuer, begun = issuer, sha256(issuer).digest(), hasher.copy()
            begun.update(issuer)
        end_of_message = _end_of_message(serial)
        one = begun.copy()
        one.update(end_of_message)
        digest = one.digest()
        if delta and reason == REMOVE_FROM_CRL:
            removals[digest_of_issuer + end_of_message] = int.from_bytes(digest, "big")
            if len(removals) > MAX_REMOVED:
                raise ValueError(f"a delta CRL that removes more than {MAX_REMOVED} certificates")
        else:
            buckets[digest[0]] += digest
    listed = _sorted(buckets)
    removed = sorted((one, message) for message, one in removals.items() if not _holds(listed, one))
    return _assembled(listed, removed, key)


def digest_of(pieces: list[bytes]) -> bytes:
    """The `digest` that an index of what `build` made has."""
    return pieces[1]


def _sorted(buckets: list[bytearray]) -> array[int]:
    """The hashes ascending, each once; the buckets, by the first octet, are emptied on the way."""
    found = array("Q")
    for bucket in buckets:
        hashes = array("Q", bytes(bucket))
        bucket.clear()
        if sys.byteorder == "little":
            hashes.byteswap()
        found.extend(array("Q", sorted(set(hashes))))
    return found


def _holds(hashes: array[int], wanted: int) -> bool:
    at = bisect_left(hashes, wanted)
    return at < len(hashes) and hashes[at] == wanted


def _assembled(listed: array[int], removed: list[tuple[int, bytes]], key: bytes) -> list[bytes]:
    messages = [message for _, message in removed]
    bits = _bits(len(listed))
    step = 1 << _HASH_BITS - bits
    parts = array("I", [*(bisect_left(listed, number * step) for number in range(2**bits)), len(listed)])
    ends = array("Q", accumulate(map(len, messages)))
    hashes = array("Q", [one for one, _ in removed])
    pieces = [listed.tobytes(), hashes.tobytes(), ends.tobytes(), parts.tobytes(), b"".join(messages)]
    header = _HEADER.pack(MAGIC, len(listed), bits, len(removed), len(pieces[-1]), key)
    return [header, _digest(header, pieces), *pieces]


def _bits(listed: int) -> int:
    return max(0, listed.bit_length() - 1 - _PART_BITS)


def _end_of_message(serial: bytes) -> bytes:
    """What is hashed behind the issuer: no two certificates share it all, for it can be taken apart from its end."""
    return serial + len(serial).to_bytes(4, "big")


def _digest(header: bytes | memoryview, pieces: Iterable[bytes | memoryview]) -> bytes:
    digest = sha256(header)
    for one in pieces:
        digest.update(one)
    return digest.digest()
