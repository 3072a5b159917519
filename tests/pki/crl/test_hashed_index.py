"""The index of a large CRL: a buffer of hashes."""

from __future__ import annotations

import struct
from hashlib import blake2b, sha256

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import name

from authz.pki.crl.hashed_index import HashedIndex, build, digest_of
from authz.pki.crl.index import IndirectIndex, RevokedEntry, SerialIndex
from authz.pki.x509.distinguished_name import Name

KEY = bytes(range(32))
HERE, THERE = Name(name("Here")), Name(name("There"))
HEADER = 72

Entries = list[tuple[Name, int, int | None]]


def octets(serial: int) -> bytes:
    """The content of an INTEGER in its shortest form."""
    return serial.to_bytes(((serial if serial >= 0 else ~serial).bit_length() // 8) + 1, "big", signed=True)


def buffer(*entries: tuple[Name, int, int | None], delta: bool = True, key: bytes = KEY) -> bytes:
    """The index of these entries."""
    return b"".join(build(((issuer, octets(serial), why) for issuer, serial, why in entries), key, delta=delta))


def index(*entries: tuple[Name, int, int | None], delta: bool = True) -> HashedIndex:
    """The same, opened."""
    return HashedIndex(buffer(*entries, delta=delta))


def verdict(found: RevokedEntry | None) -> str:
    """What an entry comes to, but for the reason code of a listing, which is not kept."""
    if found is None:
        return "missing"
    return "removed" if found.removes else "listed"


SERIALS = st.one_of(st.integers(-300, 300), st.integers(-(2**170), 2**170))
ENTRIES = st.lists(st.tuples(st.sampled_from([HERE, THERE]), SERIALS, st.sampled_from([None, 1, 8])), max_size=60)


@given(ENTRIES, st.lists(SERIALS, max_size=20))
def test_index_of_an_indirect_crl_agrees_with_the_exact_one(entries: Entries, others: list[int]) -> None:
    """Listed, removed or missing, each once, whatever is repeated and in whatever order."""
    hashed, exact = index(*entries), IndirectIndex(entries)
    assert len(hashed) == len(exact)
    for issuer in (HERE, THERE):
        for serial in {one for _, one, _ in entries} | set(others):
            assert verdict(hashed.find(serial, issuer)) == verdict(exact.find(serial, issuer))


@given(ENTRIES, st.lists(SERIALS, max_size=20))
def test_index_of_a_direct_crl_agrees_with_the_exact_one(entries: Entries, others: list[int]) -> None:
    """An issuer that is not the CRL's has nothing in it."""
    hashed = index(*((HERE, serial, why) for _, serial, why in entries))
    exact = SerialIndex(HERE, ((serial, why) for _, serial, why in entries))
    for serial in {one for _, one, _ in entries} | set(others):
        assert verdict(hashed.find(serial, HERE)) == verdict(exact.find(serial, HERE))
        assert hashed.find(serial, THERE) is None


def test_index_of_many_finds_every_one() -> None:
    """Also when its hashes stand in many parts."""
    many = index(*((HERE, serial * 7, None) for serial in range(5_000)))
    assert [serial for serial in range(7 * 5_000) if many.find(serial, HERE)] == list(range(0, 7 * 5_000, 7))
    assert len(many) == 5_000


def test_entry_costs_less_than_nine_octets() -> None:
    """In one buffer, all that is needed for a look-up included."""
    assert len(buffer(*((HERE, serial, None) for serial in range(5_000)))) < 5_000 * 9


def test_removal_in_a_complete_crl_is_a_listing() -> None:
    """There the reason code has no meaning (RFC 5280 section 5.3.1)."""
    assert index((HERE, 5, 8), delta=False).find(5, HERE) == RevokedEntry()


class Constant:
    """A hash function under which everything collides."""

    def __init__(self, **options: object) -> None:
        self.copy = lambda: self

    def update(self, message: bytes) -> None:
        """Whatever it is."""

    def digest(self) -> bytes:
        """Always the same."""
        return bytes(8)


@pytest.fixture
def colliding(monkeypatch: pytest.MonkeyPatch) -> None:
    """All certificates have the same hash."""
    monkeypatch.setattr("authz.pki.crl.hashed_index.blake2b", Constant)


@pytest.mark.usefixtures("colliding")
def test_listing_of_another_with_the_same_hash_refuses() -> None:
    """A collision may refuse a good certificate, whatever else is said about it."""
    found = index((HERE, 5, None), (HERE, 6, 8))
    assert [verdict(found.find(serial, HERE)) for serial in (5, 6, 7)] == ["listed"] * 3


@pytest.mark.usefixtures("colliding")
def test_removal_of_another_with_the_same_hash_removes_no_certificate() -> None:
    """A removal is compared octet by octet, so that a collision never makes a certificate good."""
    found = index((HERE, 5, 8), (HERE, 6, 8))
    expected = ["removed", "removed", "missing"]
    assert [verdict(found.find(serial, HERE)) for serial in (5, 6, 7)] == expected
    assert found.find(5, THERE) is None


def test_hash_is_keyed() -> None:
    """Under another key other octets stand for the same certificate."""
    one, other = buffer((HERE, 5, None)), buffer((HERE, 5, None), key=KEY[::-1])
    wanted = blake2b(HERE + b"\x05" + bytes.fromhex("00000001"), digest_size=8, key=KEY).digest()
    assert wanted in (one[HEADER + 32 :][:8], one[HEADER + 32 :][:8][::-1])
    assert one[HEADER + 32 :][:8] != other[HEADER + 32 :][:8]


def test_key_of_another_length_is_an_error() -> None:
    """The key is 32 octets."""
    with pytest.raises(ValueError, match="key"):
        buffer(key=KEY[1:])


def test_big_endian_machine_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Octets are turned round only where numbers begin with the small ones."""
    swapped = buffer((HERE, 5, None))
    monkeypatch.setattr("sys.byteorder", "big")
    assert buffer((HERE, 5, None))[HEADER + 32 :][:8] == swapped[HEADER + 32 :][:8][::-1]


def test_index_is_known_by_its_content() -> None:
    """Its digest is the one that its pieces tell, and covers header and entries."""
    pieces = build([(HERE, b"\x05", None)], KEY, delta=False)
    assert HashedIndex(b"".join(pieces)).digest == digest_of(pieces)
    assert digest_of(pieces) == sha256(pieces[0] + b"".join(pieces[2:])).digest()


SAMPLE = buffer((HERE, 5, None), (HERE, 6, 8), (THERE, 7, 1))


@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_index_with_one_octet_changed_is_an_error(at: int, by: int) -> None:
    """Wherever it is: what was made is opened, or nothing."""
    changed = bytearray(SAMPLE)
    changed[at] ^= by
    with pytest.raises(ValueError, match="index"):
        HashedIndex(bytes(changed))


@pytest.mark.parametrize("data", [SAMPLE[:at] for at in (0, 8, 103, 104, len(SAMPLE) - 1)] + [SAMPLE + b"\0"])
def test_index_of_another_length_is_an_error(data: bytes) -> None:
    """Nothing is missing, and nothing is behind it."""
    with pytest.raises(ValueError, match="index"):
        HashedIndex(data)


def test_index_with_more_parts_than_it_needs_is_an_error() -> None:
    """How many there are follows from how many are listed."""
    header = bytearray(SAMPLE[:HEADER])
    header[16:24] = struct.pack("=Q", 60)
    with pytest.raises(ValueError, match="index"):
        HashedIndex(bytes(header) + SAMPLE[HEADER:])


def test_index_without_entries_lists_no_certificate() -> None:
    """A CRL may be empty."""
    assert (len(index()), index().find(5, HERE)) == (0, None)


def test_delta_that_removes_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes memory of the process that indexes; those that list do not count, nor do two for one certificate."""
    monkeypatch.setattr("authz.pki.crl.hashed_index.MAX_REMOVED", 2)
    assert len(index((HERE, 5, 8), (HERE, 6, 8), (HERE, 6, 8), (HERE, 7, None), (HERE, 8, None))) == 4
    with pytest.raises(ValueError, match="removes more than 2"):
        index((HERE, 5, 8), (HERE, 6, 8), (HERE, 7, 8))


def test_issuer_that_many_entries_share_takes_its_room_once() -> None:
    """However long its name is, and whether entries list or remove."""
    long = Name(x509.Name([x509.NameAttribute(x509.ObjectIdentifier("2.5.4.13"), "x" * 1_900)]))
    assert len(buffer(*((long, serial, 8) for serial in range(100)))) < 10_000
    found = index(*((long, serial, 8) for serial in range(100)))
    assert [verdict(found.find(serial, long)) for serial in (5, 100)] == ["removed", "missing"]
    assert found.find(5, HERE) is None
