"""The index of a large CRL: eight bytes per entry in one buffer, which may be memory shared with other processes.

A certificate is represented by a 64-bit keyed hash of issuer and serial number, under a random key of the
buffer's own. A hit counts as an entry: with a million entries one look-up in 10^13 hits falsely, an entry is
never missed, and no serial number can be chosen to collide without the key. A removal (removeFromCRL,
in a delta) would make a revoked certificate good: of entries that remove, the serial number is kept, with the
SHA-256 of the issuer, and compared byte for byte. (The digest, as a CA may choose long names.)

The buffer, in the byte order of the machine that made it:

| bytes | content |
|---|---|
| 8 | magic |
| 8 | L, the number of hashes listed |
| 8 | B: the hashes are in 2^B parts by their first B bits |
| 8 | R, the number of certificates removed |
| 8 | K, the length of their keys together |
| 32 | the key of the hash |
| 32 | SHA-256 of everything before and after |
| 8 L | the hashes listed, ascending |
| 8 R | the hashes removed, ascending |
| 8 R | the end of the key of each |
| 4 (2^B + 1) | the start of each part of the hashes, and the end of the last |
| K | the keys: SHA-256 of the issuer, serial number, length of the serial number |

A part holds 8 to 16 hashes, so that an entry takes at most 8.5 bytes. Reason codes are not kept.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left
from hashlib import blake2b, sha256
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from authz.pki.crl.index import REMOVE_FROM_CRL, RevokedEntry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from authz.pki.crl.entries import CrlEntry
    from authz.pki.x509.distinguished_name import Name

MAGIC: Final = b"AUTHZIX2"
KEY_BYTES: Final = 32

_HEADER: Final = struct.Struct(f"=8sQQQQ{KEY_BYTES}s")
_DIGEST_BYTES: Final = 32
_START: Final = _HEADER.size + _DIGEST_BYTES

_HASH_BITS: Final = 64
_PART_BITS: Final = 3
"""A part holds 2 to the power of this many hashes, or up to twice as many."""

MAX_REMOVED: Final = 1 << 18
"""Certificates that one delta takes off a list, each of which takes 300 bytes while the index is built."""

_LISTED: Final = RevokedEntry()
_REMOVED: Final = RevokedEntry(REMOVE_FROM_CRL)

_BUCKETS: Final = 256
"""Steps in which hashes are sorted, so that few of them are Python objects at a time."""


class HashedIndex:
    """The `CrlIndex` in a buffer. `digest` (32 bytes) is the identity of its content.

    The buffer must not change: its digest is compared once, here. Raises `ValueError` for a buffer that
    `build` did not make.
    """

    __slots__ = ("_ends", "_hasher", "_keys", "_listed", "_parts", "_removed", "_shift", "buffer", "digest")

    memory = 2048
    """Bytes that it takes in each process besides the buffer: measured 1,500."""

    def __init__(self, buffer: bytes | memoryview) -> None:
        view = self.buffer = memoryview(buffer).toreadonly().cast("B")
        if len(view) < _START:
            raise ValueError("an index that is cut short")
        magic, listed, bits, removed, keys, key = _HEADER.unpack_from(view)
        if magic != MAGIC or bits != _bits(listed):
            raise ValueError("no index, or one of another version")
        sizes = _DIGEST_BYTES, 8 * listed, 8 * removed, 8 * removed, 4 * (2**bits + 1), keys
        *ends, end = accumulate(sizes, initial=_HEADER.size)
        if end != len(view):
            raise ValueError("an index of another length")
        self.digest = bytes(view[_HEADER.size : _START])
        if _digest(view[: _HEADER.size], [view[_START:]]) != self.digest:
            raise ValueError("an index whose content was changed")
        self._hasher = blake2b(digest_size=8, key=key)
        self._shift = _HASH_BITS - bits
        self._listed = view[ends[1] : ends[2]].cast("Q")
        self._removed = view[ends[2] : ends[3]].cast("Q")
        self._ends = view[ends[3] : ends[4]].cast("Q")
        self._parts = view[ends[4] : ends[5]].cast("I")
        self._keys = view[ends[5] :]

    def find(self, serial: int, issuer: Name) -> RevokedEntry | None:
        """The entry of that issuer's serial number; a certificate both listed and removed is listed."""
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


def build(entries: Iterable[CrlEntry], key: bytes, *, delta: bool) -> list[bytes]:
    """The pieces of the buffer of an index of `entries`, which are read once.

    `key` is 32 random bytes, never used before. In a CRL that is not a `delta` removeFromCRL has no meaning
    (RFC 5280 section 5.3.1): such an entry lists its certificate. Raises `ValueError` for a key of another
    length, and for more than `MAX_REMOVED` removals.
    """
    if len(key) != KEY_BYTES:
        raise ValueError("a key of another length")
    hasher = blake2b(digest_size=8, key=key)
    buckets = [bytearray() for _ in range(_BUCKETS)]
    removals: dict[bytes, int] = {}
    last: Name | None = None
    for issuer, serial, reason in entries:
        if issuer is not last:
            # Once for consecutive entries of an issuer: a name may be a hundred times as long as an entry.
            last, digest_of_issuer, begun = issuer, sha256(issuer).digest(), hasher.copy()
            begun.update(issuer)
        end_of_message = _end_of_message(serial)
        entry_hasher = begun.copy()
        entry_hasher.update(end_of_message)
        digest = entry_hasher.digest()
        if delta and reason == REMOVE_FROM_CRL:
            removals[digest_of_issuer + end_of_message] = int.from_bytes(digest, "big")
            if len(removals) > MAX_REMOVED:
                raise ValueError(f"a delta CRL that removes more than {MAX_REMOVED} certificates")
        else:
            buckets[digest[0]] += digest
    listed = _sorted(buckets)
    removed = sorted(
        (removed_hash, message) for message, removed_hash in removals.items() if not _holds(listed, removed_hash)
    )
    return _assembled(listed, removed, key)


def digest_of(pieces: list[bytes]) -> bytes:
    """The `digest` of the index whose pieces `build` returned."""
    return pieces[1]


def _sorted(buckets: list[bytearray]) -> array[int]:
    """The hashes of all buckets (by first byte) in ascending order, without duplicates; empties the buckets."""
    merged = array("Q")
    for bucket in buckets:
        hashes = array("Q", bytes(bucket))
        bucket.clear()
        if sys.byteorder == "little":
            hashes.byteswap()
        merged.extend(array("Q", sorted(set(hashes))))
    return merged


def _holds(hashes: array[int], wanted: int) -> bool:
    at = bisect_left(hashes, wanted)
    return at < len(hashes) and hashes[at] == wanted


def _assembled(listed: array[int], removed: list[tuple[int, bytes]], key: bytes) -> list[bytes]:
    messages = [message for _, message in removed]
    bits = _bits(len(listed))
    step = 1 << _HASH_BITS - bits
    parts = array("I", [*(bisect_left(listed, number * step) for number in range(2**bits)), len(listed)])
    ends = array("Q", accumulate(map(len, messages)))
    hashes = array("Q", [removed_hash for removed_hash, _ in removed])
    pieces = [listed.tobytes(), hashes.tobytes(), ends.tobytes(), parts.tobytes(), b"".join(messages)]
    header = _HEADER.pack(MAGIC, len(listed), bits, len(removed), len(pieces[-1]), key)
    return [header, _digest(header, pieces), *pieces]


def _bits(listed: int) -> int:
    return max(0, listed.bit_length() - 1 - _PART_BITS)


def _end_of_message(serial: bytes) -> bytes:
    """The end of a message: with the length behind it, no two certificates have the same message."""
    return serial + len(serial).to_bytes(4, "big")


def _digest(header: bytes | memoryview, pieces: Iterable[bytes | memoryview]) -> bytes:
    digest = sha256(header)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()
