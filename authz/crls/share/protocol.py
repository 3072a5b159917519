"""What the process that keeps the CRLs and a worker send each other, over one pair of sockets for each worker.

A message is a kind, a number and a body; what is large, or a CRL, comes along as a descriptor of sealed memory. A kind
that the receiver does not know is passed over, so that two versions of the service can talk during an upgrade.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

from authz import ipc
from authz.crls.acceptance import SignedCrl
from authz.crls.sources import CrlSource
from authz.ipc import PeerClosed
from authz.model import CrlSourceKind
from authz.pki.crl.crl import EXPIRED_WHEN_IT_CAME
from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name

_HEAD: Final = struct.Struct("=BQ")
_LENGTH: Final = struct.Struct("=I")
ORGANIZATION: Final = struct.Struct("=Q")

MAX_MESSAGE: Final = 4_096
"""Bytes of a message; anything that may be longer travels as sealed memory."""

MAX_NAMES: Final = 1_024
"""Names of refused sources that are kept as they were read: strangers chose them, and every manifest repeats them."""


class MessageKind(IntEnum):
    """What a message is."""

    CRL = 1
    """To a worker: one more CRL, as sealed memory."""
    MANIFEST = 2
    """To a worker: which CRLs count from now on, and which sources were refused, as sealed memory."""
    HEARTBEAT = 3
    """To a worker: everything up to this moment (`number`, ns of the monotonic clock) was sent."""
    ANSWER = 4
    """To a worker: the fetch request of that number is settled."""
    FETCH_REQUEST = 5
    """From a worker: a path (sealed memory) of an organization (body) whose CRLs a check waits for."""
    PATH_SEEN = 6
    """From a worker: a path (sealed memory) of an organization (`number`) that verified."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; the receiver closes `descriptor`."""

    kind: int
    number: int
    body: bytes
    descriptor: int | None


class Channel:
    """One end, used by one event loop; takes the socket over."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._sending = asyncio.Lock()

    def close(self) -> None:
        """Close this end; a task that waits for a message is to be cancelled first."""
        self._socket.close()

    def try_to_send(self, kind: MessageKind, number: int = 0, body: bytes = b"", descriptor: int | None = None) -> bool:
        """Send now, or not at all: False when the other end is behind. Raises `PeerClosed`."""
        return ipc.send(self._socket, [_HEAD.pack(kind, number), body], descriptor)

    async def send(self, kind: MessageKind, number: int = 0, body: bytes = b"", descriptor: int | None = None) -> None:
        """Send, when the other end has room; in the order of the calls. Raises `PeerClosed`."""
        async with self._sending:
            while not self.try_to_send(kind, number, body, descriptor):
                await ipc.ready(self._socket, writable=True)

    async def receive(self) -> Message:
        """The next message. Raises `PeerClosed`; also when a descriptor is lost, for its content must not be missed."""
        data, descriptor = await ipc.next_message(self._socket, MAX_MESSAGE)
        if len(data) < _HEAD.size:
            if descriptor is not None:
                os.close(descriptor)
            raise PeerClosed("a message was cut short")
        kind, number = _HEAD.unpack_from(data)
        return Message(kind, number, data[_HEAD.size :], descriptor)


def packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Each piece behind its length, to be sealed."""
    for piece in pieces:
        yield _LENGTH.pack(len(piece))
        yield piece


def unpacked(data: bytes | memoryview) -> list[bytes]:
    """The pieces that were packed. Raises `ValueError` for anything else."""
    pieces, at = [], 0
    while at < len(data):
        if at + _LENGTH.size > len(data):
            raise ValueError("a length that is cut short")
        (size,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        if at + size > len(data):
            raise ValueError("a piece that is cut short")
        pieces.append(bytes(data[at : at + size]))
        at += size
    return pieces


@dataclass(frozen=True, slots=True)
class CrlManifest:
    """Which CRLs count: `signers` maps the SHA-256 of each to that of the key that signed it, as in `CrlStore`.

    `refused` are the sources whose last answer was refused, with no more of each than `modes_of` looks at, `expired`
    the CRLs that had expired when they came, and are evidence alone.
    """

    signers: dict[bytes, bytes]
    refused: tuple[CrlSource, ...]
    expired: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, crls: Iterable[SignedCrl], refused: Iterable[CrlSource]) -> CrlManifest:
        """What counts now."""
        held = {signed.crl.sha256: signed for signed in crls}
        expired = frozenset(sha256 for sha256, signed in held.items() if signed.crl.unusable == EXPIRED_WHEN_IT_CAME)
        return cls({sha256: signed.signer for sha256, signed in held.items()}, tuple(refused), expired)

    def to_bytes(self) -> bytes:
        """In a form of its own: two pieces for each CRL, five for each refused source, and one for each expired CRL.

        The last are left out where there are none: an earlier version does not know them.
        """
        crls = [piece for pair in self.signers.items() for piece in pair]
        refused = []
        for source in self.refused:
            names = _written(source.issuer), _written(source.claimed)
            organizations = b"".join(map(ORGANIZATION.pack, source.authorities))
            refused += [source.location.encode(), source.kind.encode(), *names, organizations]
        lists = [crls, refused, [*self.expired]] if self.expired else [crls, refused]
        return b"".join(packed([b"".join(packed(pieces)) for pieces in lists]))

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> CrlManifest:
        """What `to_bytes` made. Raises `ValueError` for anything else."""
        crls, refused, *rest = map(unpacked, unpacked(data))
        expired = frozenset(sha256 for pieces in rest for sha256 in pieces)
        signers = dict(zip(crls[::2], crls[1::2], strict=True))
        rows = zip(*(refused[at::5] for at in range(5)), strict=True)
        return cls(signers, tuple(_source(*row) for row in rows), expired)


def _source(location: bytes, kind: bytes, issuer: bytes, claimed: bytes, organizations: bytes) -> CrlSource:
    try:
        authorities: dict[int, dict[bytes, bytes]] = {
            organization: {} for (organization,) in ORGANIZATION.iter_unpack(organizations)
        }
    except struct.error as error:
        raise ValueError("organizations that are cut short") from error
    which = CrlSourceKind(kind.decode())
    return CrlSource(location.decode(), which, issuer=_name(issuer), claimed=_name(claimed), authorities=authorities)


def _written(name: Name | None) -> bytes:
    return b"" if name is None else der.tlv(der.SEQUENCE, *name.rdns)


@lru_cache(MAX_NAMES)
def _name(data: bytes) -> Name | None:
    return Name.read(data) if data else None
