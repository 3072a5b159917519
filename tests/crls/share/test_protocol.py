"""Messages between the process that keeps the CRLs and those that look at them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator

import pytest
from support.crl_world import CA, crl, spki

from authz.crls.acceptance import SignedCrl
from authz.crls.share.protocol import Channel, CrlManifest, MessageKind, packed, unpacked
from authz.crls.sources import CrlSource
from authz.ipc import PeerClosed
from authz.model import CrlSourceKind
from authz.pki import Crl
from authz.pki.x509.distinguished_name import Name

Ends = tuple[Channel, Channel]


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    """Both ends."""
    made = [Channel(one) for one in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
    yield made[0], made[1]
    for one in made:
        one.close()


async def test_message_arrives_whole(ends: Ends) -> None:
    """MessageKind, number and octets, and a descriptor that no child inherits."""
    reading, writing = os.pipe()
    await ends[0].send(MessageKind.CRL, 7, b"octets", reading)
    found = await ends[1].receive()
    assert (found.kind, found.number, found.body) == (MessageKind.CRL, 7, b"octets")
    assert found.descriptor is not None
    assert not os.get_inheritable(found.descriptor)
    os.write(writing, b"x")
    assert os.read(found.descriptor, 1) == b"x"
    for one in (reading, writing, found.descriptor):
        os.close(one)


async def test_message_without_octets_is_one(ends: Ends) -> None:
    """Kind and number alone."""
    await ends[0].send(MessageKind.HEARTBEAT, 2**63)
    assert (await ends[1].receive()).number == 2**63


async def test_each_waiter_is_woken(ends: Ends) -> None:
    """By a message that comes later."""
    waiting = asyncio.create_task(ends[1].receive())
    await asyncio.sleep(0)
    await ends[0].send(MessageKind.ANSWER, 1)
    assert (await waiting).number == 1


async def test_other_end_that_is_behind_is_reported_and_waited_for(ends: Ends) -> None:
    """`try_to_send` says so, `send` waits for room."""
    sent = 0
    while ends[0].try_to_send(MessageKind.PATH_SEEN, sent):
        sent += 1
    waiting = asyncio.create_task(ends[0].send(MessageKind.PATH_SEEN, sent))
    found = [(await ends[1].receive()).number for _ in range(sent + 1)]
    await waiting
    assert found == list(range(sent + 1))


async def test_end_of_the_other_end_is_heard_and_felt(ends: Ends) -> None:
    """By the end that reads, and by the end that writes."""
    ends[0].close()
    with pytest.raises(PeerClosed):
        await ends[1].receive()
    with pytest.raises(PeerClosed):
        ends[1].try_to_send(MessageKind.ANSWER)


def test_packed_pieces_come_back() -> None:
    """Also empty ones."""
    pieces = [b"", b"a", b"b" * 70_000]
    assert unpacked(b"".join(packed(pieces))) == pieces
    assert unpacked(b"") == []


@pytest.mark.parametrize("data", [b"\1", b"\5\0\0\0abc"])
def test_pieces_that_are_cut_short_are_an_error(data: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="cut short"):
        unpacked(data)


# The manifest.


NAME = Name(CA.certificate.subject)


def test_list_comes_back_as_it_was() -> None:
    """The CRLs with their signers, the refused sources with what is looked at."""
    held = SignedCrl(Crl(crl()), spki(CA))
    sources = [
        CrlSource("http://a/ä", CrlSourceKind.POINT, issuer=NAME, authorities={7: {b"k": b"der"}, 9: {}}),
        CrlSource("/folder/x.crl", CrlSourceKind.FILE, claimed=NAME),
        CrlSource("http://b/", CrlSourceKind.URL),
    ]
    found = CrlManifest.from_bytes(CrlManifest.of([held], sources).to_bytes())
    assert found.signers == {held.crl.sha256: held.signer}
    for one, other in zip(found.refused, sources, strict=True):
        assert looked_at(one) == looked_at(other)


def test_expired_crls_come_back_as_evidence() -> None:
    """And leave what an earlier version reads as it was where there are none."""
    held = SignedCrl(Crl(crl()), spki(CA))
    before = CrlManifest.of([held], []).to_bytes()
    held.crl.mark_expired(when_it_came=True)
    manifest = CrlManifest.of([held], [])
    assert CrlManifest.from_bytes(manifest.to_bytes()) == manifest
    assert (manifest.expired, len(manifest.to_bytes()) - len(before)) == ({held.crl.sha256}, 4 + 4 + 32)


def looked_at(one: CrlSource) -> tuple[object, ...]:
    """What decides whether a source's refusal concerns a certificate."""
    return one.location, one.kind, one.issuer, one.claimed, set(one.authorities)


def test_empty_list_comes_back_empty() -> None:
    """No CRL, and nothing refused."""
    found = CrlManifest.from_bytes(CrlManifest.of([], []).to_bytes())
    assert (found.signers, found.refused) == ({}, ())


def pieces(*each: list[bytes]) -> bytes:
    """Packed twice, as a list is."""
    return b"".join(packed([b"".join(packed(one)) for one in each]))


@pytest.mark.parametrize(
    "data",
    [
        b"\1",
        pieces([b"a"], []),
        pieces([], [b"x"]),
        pieces([], [b"l", b"no kind", b"", b"", b""]),
        pieces([], [b"l", b"url", b"", b"", b"\1"]),
        pieces([]),
    ],
)
def test_anything_else_is_an_error(data: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"cut short|shorter|longer|expected|valid"):
        CrlManifest.from_bytes(data)
