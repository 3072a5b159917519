"""The strict reader of DER."""

from __future__ import annotations

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority, tlv

from authz.pki import Certificate
from authz.pki.x509 import der

CA = Authority.root()
LEAF = CA.leaf()


@given(st.integers(0, 30), st.binary(max_size=300))
def test_element_in_der_is_read_whole(tag: int, content: bytes) -> None:
    """Tag and content of what was written are read back."""
    data = tlv(tag, content)
    found, start, end = der.element(data, 0, len(data))
    assert (found, data[start:end], end) == (tag, content, len(data))


@pytest.mark.parametrize("size", [0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000])
def test_length_at_a_border_is_read(size: int) -> None:
    """Lengths on both sides of each form are read."""
    data = tlv(4, bytes(size))
    assert der.element(data, 0, len(data))[2] == len(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("", id="nothing"),
        pytest.param("30", id="no length"),
        pytest.param("3001", id="content missing"),
        pytest.param("1f0100", id="tag of several bytes"),
        pytest.param("30800000", id="indefinite length"),
        pytest.param("3081", id="length missing"),
        pytest.param("308100", id="zero in the long form"),
        pytest.param("30817f" + "00" * 0x7F, id="long form of a short length"),
        pytest.param("3082ff" + "00" * 0x10, id="length cut off"),
        pytest.param("30820080" + "00" * 0x80, id="leading zero in the length"),
        pytest.param("3085000000000100", id="five octets of length"),
        pytest.param("30ff" + "01" * 127, id="reserved length"),
    ],
)
def test_element_not_in_der_refuses(data: str) -> None:
    """Whatever is not one definite, shortest length is refused."""
    raw = bytes.fromhex(data)
    with pytest.raises(ValueError, match="DER"):
        der.element(raw, 0, len(raw))


@given(st.lists(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x100, 0x10000]), max_size=7))
def test_row_of_elements_is_distinguished(sizes: list[int]) -> None:
    """Where each begins and the last ends, whatever the form of its length."""
    parts = [tlv(4, bytes(size)) for size in sizes]
    ends = [1 + sum(map(len, parts[:count])) for count in range(len(parts) + 1)]
    assert der.row(b"x" + b"".join(parts) + b"more", 1, len(parts)) == ends


def test_unused_bits_are_counted_by_the_first_octet() -> None:
    """Behind the length, of whatever form."""
    assert der.unused_bits(b"x" + tlv(3, b"\0" + bytes(300)), 1) == 0
    assert der.unused_bits(tlv(3, b"\7\0"), 0) == 7


def test_element_beyond_its_parent_refuses() -> None:
    """An element must end where its parent does, though the data go on."""
    data = tlv(4, b"abc") + b"more"
    with pytest.raises(ValueError, match="ends inside"):
        der.element(data, 0, 4)


@given(st.lists(st.binary(max_size=5)))
def test_elements_side_by_side_are_all_read(contents: list[bytes]) -> None:
    """A sequence of elements is read to its end."""
    data = b"".join(tlv(4, one) for one in contents)
    assert [data[a:b] for _, a, b in der.elements(data, 0, len(data))] == contents


@pytest.mark.parametrize("data", [b"\x04\x00", b"\x30\x00\x00", b"\x30\x00\x30\x00"])
def test_only_with_something_else_refuses(data: bytes) -> None:
    """One element of the tag that was asked for, and nothing behind it."""
    with pytest.raises(ValueError, match="not one element"):
        der.only(data, der.SEQUENCE)


def test_signed_part_is_cut_from_the_raw_bytes() -> None:
    """The first element inside is the one that was signed, header included."""
    tbs = tlv(0x30, b"\x02\x01\x01")
    data = tlv(0x30, tbs + tlv(0x30, b"") + tlv(3, b"\0"))
    outer, start, end = der.signed_part(data)
    assert (data[outer:end], data[start:end]) == (tbs, b"\x02\x01\x01")


def test_signed_part_that_is_no_sequence_refuses() -> None:
    """A signed part is a sequence."""
    with pytest.raises(ValueError, match="not a sequence"):
        der.signed_part(tlv(0x30, tlv(4, b"")))


@given(st.integers(-(2**200), 2**200))
def test_integer_in_its_shortest_form_is_read(value: int) -> None:
    """Any integer in DER is read, negative ones included."""
    shortest = value.to_bytes(((value if value >= 0 else ~value).bit_length() // 8) + 1, "big", signed=True)
    assert der.integer(shortest) == value


@given(st.binary(min_size=1, max_size=8))
def test_integer_with_a_needless_octet_refuses(content: bytes) -> None:
    """A sign octet in front of one that has the sign already is refused."""
    padded = (b"\xff" if content[0] & 0x80 else b"\0") + content
    with pytest.raises(ValueError, match="shortest"):
        der.integer(padded)


def test_integer_without_octets_refuses() -> None:
    """An integer has at least one octet."""
    with pytest.raises(ValueError, match="shortest"):
        der.integer(b"")


@given(st.sampled_from([0, 1, 2]), st.integers(0, 39), st.lists(st.integers(0, 2**40), min_size=1, max_size=6))
def test_oid_is_read_as_the_library_writes_it(first: int, second: int, arcs: list[int]) -> None:
    """Identifiers that the library encodes are read back the same."""
    dotted = ".".join(map(str, [first, second, *arcs]))
    encoded = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(dotted), "x", _validate=False)]).public_bytes()
    start, end = next((a, b) for a, b in _oids(encoded))
    assert der.oid(encoded[start:end]) == dotted


def _oids(data: bytes) -> list[tuple[int, int]]:
    start, end = der.only(data, der.SEQUENCE)
    start, end = der.only(data, der.SET, start, end)
    start, end = der.only(data, der.SEQUENCE, start, end)
    return [(a, b) for tag, a, b in der.elements(data, start, end) if tag == der.OID]


def test_oid_under_the_joint_arc_may_be_large() -> None:
    """Below 2 the second arc is not limited to 39."""
    assert der.oid(bytes.fromhex("883703")) == "2.999.3"


@pytest.mark.parametrize("content", ["", "2a86", "2a8001", "80", "2a" + "01" * der.MAX_OID])
def test_oid_not_in_der_refuses(content: str) -> None:
    """Empty, unfinished, padded and overlong identifiers are refused."""
    with pytest.raises(ValueError, match="object identifier"):
        der.oid(bytes.fromhex(content))


def field_of(certificate: bytes) -> bytes:
    """What stands behind the key."""
    return Certificate.parse(certificate)._layout.extensions


def test_extensions_are_found_raw() -> None:
    """Each with its identifier, whether it is critical, and where its value is: as the library has them."""
    field = field_of(LEAF.der)
    found = [(one, critical, field[start:end]) for one, critical, start, end in der.extensions(field)]
    expected = [(one.oid.dotted_string, one.critical, one.value.public_bytes()) for one in LEAF.certificate.extensions]
    assert [(der.oid(one), *rest) for one, *rest in found] == expected


@pytest.mark.parametrize("field", [b"", b"\x81\x02\x00\xff", b"\xa3\x02\x30\x00"])
def test_certificate_without_extensions_has_none(field: bytes) -> None:
    """None behind the key, unique identifiers alone, or an empty list."""
    assert list(der.extensions(field)) == []


def test_unique_identifiers_come_before_extensions() -> None:
    """RFC 5280 section 4.1.2.8."""
    field = field_of(LEAF.der)
    assert [one[:2] for one in der.extensions(b"\x81\x02\x00\xa3" + field)] == [
        one[:2] for one in der.extensions(field)
    ]


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"", 0),
        (tlv(0x82, b"a") * 3, 3),
        (tlv(0x30, tlv(0x30, tlv(0x30, b""))), 3),
        (tlv(0x30, tlv(0x04, b"0\0" * 9)), 2),
        (tlv(0x30, b"\x30\x7f" + tlv(0x82, b"a")) + tlv(0x82, b"a"), 4),
        (tlv(0x87, b"\1\2\3\4") * 2, 12),
        (tlv(0xA0, b"\4\x7f") + tlv(0x82, b"a") * 5, 7),
        (b"\x30\x84\xff\xff\xff\xff" + tlv(0x82, b"a") * 5, 6),
        (b"\x82\x84\xff\xff", 1),
        (b"\x30\x80\0\0", 2),
        (b"\x30", 0),
    ],
)
def test_elements_are_counted_at_every_depth(data: bytes, count: int) -> None:
    """What is no DER hides nothing that stands behind it, and its content ends where its parent does."""
    assert der.count(data, 0, len(data), 1_000) == count


@given(st.binary(max_size=200))
def test_counting_ends(data: bytes) -> None:
    """On anything, and never above half the bytes, an address apart."""
    assert der.count(data, 0, len(data), 1_000) <= 6 * len(data) // 2
    assert der.count(data, 0, len(data), 3) <= 9


@given(st.one_of(st.binary(max_size=300), st.integers(0x80, 0x20000).map(bytes)), st.binary(max_size=3))
def test_after_is_where_the_element_ends(content: bytes, behind: bytes) -> None:
    """On what is DER the short cut agrees with the strict reader."""
    data = tlv(der.OCTET_STRING, content) + behind
    assert der.after(data, 0) == der.element(data, 0, len(data))[2]


@given(st.binary(max_size=300))
def test_content_is_where_the_element_begins(content: bytes) -> None:
    """Behind tag and length, however many octets the length takes."""
    data = tlv(0x04, content)
    assert data[der.content(data, 0) :] == content


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_element_that_is_written_is_read(size: int) -> None:
    """Of any length, from any number of parts."""
    data = der.tlv(der.OCTET_STRING, b"x" * (size // 2), b"x" * (size - size // 2))
    assert data == tlv(der.OCTET_STRING, b"x" * size)
    assert der.only(data, der.OCTET_STRING) == (len(data) - size, len(data))
