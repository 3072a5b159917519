"""Names compare by RFC 5280 section 7.1: case, white space and string type do not matter, everything else does."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import new_key
from support.raw_der import CN, handmade, raw_name, sequence, tlv

from authz.errors import Refused
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.distinguished_name import _DECOMPOSED, _DELETED_AND_SPACES, MAX_NAME, MAX_PARTS, Name, prepare
from authz.reasons import Reason

T = _ASN1Type


def common(text: str, kind: _ASN1Type = T.UTF8String) -> x509.NameAttribute[str]:
    """One common name."""
    return x509.NameAttribute(NameOID.COMMON_NAME, text, kind, _validate=False)


def made(*attributes: x509.NameAttribute[str]) -> Name:
    """The name of these attributes, one an RDN."""
    return Name(x509.Name(list(attributes)))


ORG = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")
E_ACUTE = Name.read(raw_name("\u00e9".encode(), 0x14))
"""A TeletexString of two bytes: one letter in UTF-8, two in latin-1."""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Acme", "ACME"),
        ("Acme  Ltd", " acme ltd "),
        ("Straße", "STRASSE"),
        ("\ufb01sh", "fish"),
        ("e\u0301", "\u00e9"),
        ("a\u00adb", "ab"),
        ("a\u200bb", "ab"),
        ("a\u00a0b", "a b"),
        ("a\u200db", "ab"),
        ("a\tb", "a b"),
        ("a\x00b", "ab"),
    ],
)
def test_strings_that_prepare_alike_are_equal(one: str, other: str) -> None:
    """RFC 4518: map, fold, normalize, squeeze; what is invisible does not make another name."""
    assert prepare(one) == prepare(other)
    assert made(common(one)) == made(common(other))


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("a b", "ab"), ("a", "aa"), ("", "a")])
def test_strings_that_differ_are_different(one: str, other: str) -> None:
    """White space inside separates."""
    assert prepare(one) != prepare(other)


@given(st.text())
def test_prepared_text_is_prepared(text: str) -> None:
    """Preparing twice changes nothing, so that equality is transitive."""
    assert prepare(prepare(text)) == prepare(text)


def as_defined(text: str) -> str:
    """RFC 4518 section 2, without regard to what it costs."""
    mapped = text.translate(_DELETED_AND_SPACES)
    folded = unicodedata.normalize("NFKC", mapped).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


DECOMPOSED = st.sampled_from([chr(code) for code in _DECOMPOSED])
DELETED = st.sampled_from([chr(code) for code in _DELETED_AND_SPACES])
SYLLABLES = st.characters(min_codepoint=0x1100, max_codepoint=0x11FF) | st.characters(
    min_codepoint=0xAC00, max_codepoint=0xD7A3
)


@given(st.text(st.characters(exclude_categories=["Cs"]) | DECOMPOSED | DELETED | SYLLABLES, max_size=30))
def test_text_within_the_bounds_is_prepared_as_defined(text: str) -> None:
    """The bounds refuse, and change nothing that they let pass."""
    with suppress(ValueError):
        assert prepare(text) == as_defined(text)


def every() -> Iterator[str]:
    """Every character."""
    return map(chr, range(0x110000))


def marks(text: str) -> list[int]:
    """How many non-starters stand before, between and behind the starters of a text, decomposed."""
    shape = ["1" if unicodedata.combining(one) else " " for one in unicodedata.normalize("NFKD", text)]
    return list(map(len, "".join(shape).split(" ")))


@pytest.mark.slow
def test_every_character_is_prepared_as_defined() -> None:
    """Of all there are, those included that stand for many."""
    assert [one for one in every() if prepare(one) != as_defined(one)] == []


@pytest.mark.slow
def test_every_character_with_marks_is_known() -> None:
    """And those that stand for more than four: so that what is not in the table costs nothing to normalize."""
    found = {one for one in every() if any(marks(one)) or len(unicodedata.normalize("NFKD", one)) > 4}
    assert found == set(map(chr, _DECOMPOSED))


def test_no_character_gains_marks_when_folded() -> None:
    """So that marks counted before are no fewer than those counted after."""
    folded = [(marks(one), marks(one.casefold())) for one in every() if one != one.casefold()]
    assert all(
        before[0] >= after[0] and before[-1] >= after[-1] and max(before) >= max(after) for before, after in folded
    )


MARK, TWO_MARKS, STARTER_OF_TWO = "\u0316", "\u0344", "\u0f81"


@pytest.mark.parametrize("gone", ["", "\u034f", "\u200d", "\0", "\U000e0020"])
@pytest.mark.parametrize(
    ("most", "more"),
    [
        (MARK * 30, MARK * 31),
        (TWO_MARKS * 15, TWO_MARKS * 15 + MARK),
        (MARK + TWO_MARKS * 14, TWO_MARKS * 16),
        (STARTER_OF_TWO * 15, STARTER_OF_TWO * 16),
        ("\u00c4" + MARK * 29, "\u00c4" + MARK * 30),
        ("\u01d5" + MARK * 28, "\u01d5" + MARK * 29),
        (MARK * 30 + "a" + MARK * 30, MARK * 30 + "a" + MARK * 31),
        (MARK * 30 + "\u00a0" + MARK * 30, MARK * 30 + MARK),
    ],
)
def test_marks_in_a_row_are_bounded(most: str, more: str, gone: str) -> None:
    """UAX #15 section 13: decomposed, and what section 2.2 deletes joins the runs around it."""
    assert prepare(gone.join(most)) == prepare(most) == as_defined(most)
    with pytest.raises(ValueError, match="combining marks"):
        prepare(gone.join(more))


def test_growth_is_bounded() -> None:
    """U+FDFA becomes 18 letters, thrice and no more; what becomes four or fewer may be as often as it likes."""
    assert len(prepare("\ufdfa" * 3)) == 54
    with pytest.raises(ValueError, match="normalizing adds"):
        prepare("\ufdfa" * 4)
    assert prepare("\ufb03" * 500) == "ffi" * 500


def test_name_is_bounded_in_bytes() -> None:
    """And read to the last."""
    assert Name.read(raw_name(b"x" * (MAX_NAME - 21))).text == "CN=" + "x" * (MAX_NAME - 21)
    assert len(raw_name(b"x" * (MAX_NAME - 21))) == MAX_NAME
    with pytest.raises(ValueError, match="2048 are the limit"):
        Name.read(raw_name(b"x" * (MAX_NAME - 20)))


def test_parts_of_a_name_are_bounded() -> None:
    """RDNs, and attributes of one."""
    attribute = sequence(CN, tlv(0x0C, b"a"))
    for held in ([tlv(0x31, attribute)], [attribute]):
        most, more = (sequence(*held * count) for count in (MAX_PARTS, MAX_PARTS + 1))
        if held == [attribute]:
            most, more = (sequence(tlv(0x31, one[2 + (one[1] & 0x7F) :])) for one in (most, more))
        assert Name.read(most)
        with pytest.raises(ValueError, match="64 are the limit"):
            Name.read(more)


@pytest.mark.slow
def test_prepared_character_holds_nothing_that_is_mapped() -> None:
    """Of all there are: what becomes a space, or nothing, is gone (RFC 4518 section 2.2), though it is mapped once."""
    assert {part for one in every() for part in prepare(one)}.isdisjoint(map(chr, _DELETED_AND_SPACES))


@pytest.mark.parametrize(
    "kind", [T.PrintableString, T.T61String, T.IA5String, T.VisibleString, T.BMPString, T.UniversalString]
)
def test_string_type_does_not_matter(kind: _ASN1Type) -> None:
    """A CA that re-encoded its name still chains."""
    assert made(common("Acme", kind)) == made(common("ACME"))


def test_numeric_string_is_a_character_string() -> None:
    """Like the others."""
    assert made(common("12", T.NumericString)) == made(common("12"))


def test_other_type_of_value_is_compared_as_it_stands() -> None:
    """Tag and octets."""
    bits, text = raw_name(b"\0ab", 0x03), raw_name(b"\0ab", 0x0C)
    assert Name.read(bits) == Name.read(bits)
    assert Name.read(bits) != Name.read(text)


def test_value_of_an_odd_tag_is_never_taken_for_text() -> None:
    """A tag of zero, and a length that is a letter: octet by octet what such a text is prepared to."""
    assert Name.read(raw_name(b"x" * 97, 0x00)) != Name.read(raw_name(b"a" + b"x" * 97))


def test_attribute_types_that_differ_are_different() -> None:
    """The same text as organization and as common name."""
    assert made(common("Acme")) != made(ORG)


def test_rdn_of_several_values_has_no_order() -> None:
    """A set, whatever order somebody wrote it in; but no subset equals it."""
    a, b = (
        sequence(bytes.fromhex("0603550403"), tlv(0x0C, b"a")),
        sequence(bytes.fromhex("060355040a"), tlv(0x0C, b"b")),
    )
    one, other = sequence(tlv(0x31, a, b)), sequence(tlv(0x31, b, a))
    assert Name.read(one) == Name.read(other)
    assert Name.read(one) != Name.read(sequence(tlv(0x31, a)))
    assert Name.read(one) != Name.read(sequence(tlv(0x31, a), tlv(0x31, b)))


@pytest.mark.parametrize("empty", [0, 1])
def test_rdn_without_attributes_is_refused(empty: int) -> None:
    """RelativeDistinguishedName is a SET SIZE (1..MAX) (section 4.1.2.4); the parser takes an empty one."""
    rdns = [tlv(0x31, sequence(CN, tlv(0x0C, b"a")))] * 2
    rdns[empty] = tlv(0x31)
    key = new_key()
    odd = Certificate.parse(handmade(key, issuer=raw_name(b"a"), subject=sequence(*rdns)))  # type: ignore[arg-type]
    with pytest.raises(Refused) as caught:
        odd.subject  # noqa: B018
    assert caught.value.reason is Reason.CERTIFICATE_MALFORMED


def test_rdns_of_several_are_in_order() -> None:
    """Most significant first."""
    assert made(ORG, common("a")) != made(common("a"), ORG)


def test_name_lies_within_its_beginnings_only() -> None:
    """RFC 5280 section 4.2.1.10, directoryName: RDN by RDN, not octet by octet."""
    name, base = made(ORG, common("alice")), made(ORG)
    assert name.within(base)
    assert name.within(name)
    assert name.within(made())
    assert not base.within(name)
    assert not made(ORG, common("alice")).within(made(ORG, common("ali")))


def test_empty_name_is_false() -> None:
    """And so are its texts empty."""
    assert not made()
    assert made().text == ""


def test_long_name_keeps_its_lengths() -> None:
    """Lengths of several octets are read."""
    long = Name.read(raw_name(b"x" * 300))
    assert long != Name.read(raw_name(b"x" * 301))
    assert long.text == "CN=" + "x" * 300


@pytest.mark.parametrize(
    ("text", "tag"), [(b"\xff", 0x0C), (b"\xe9", 0x16), (b"\x80", 0x12), (b"a", 0x1E), (b"a", 0x1C)]
)
def test_value_that_its_type_cannot_hold_is_an_error(text: bytes, tag: int) -> None:
    """Of all character strings but TeletexString."""
    with pytest.raises(ValueError, match="codec"):
        Name.read(raw_name(text, tag))


def test_teletex_string_of_plain_letters_is_read() -> None:
    """As UTF-8, of which they are part."""
    assert Name.read(raw_name(b"Acme", 0x14)) == made(common("acme"))
    for letters in ("Caf\u00e9".encode(), b"Caf\xe9"):
        assert Name.read(raw_name(letters, 0x14)) == made(common("caf\u00e9"))
        assert Name.read(raw_name(letters, 0x14)).text == "CN=Caf\u00e9"


def test_teletex_string_has_two_readings() -> None:
    """Other names have one, that by which they are compared."""
    assert (made(common("\u00e9")), made(common("\u00c3\u00a9"))) == (E_ACUTE, E_ACUTE.latin)
    plain = made(common("\u00e9"))
    assert plain.latin is plain


@pytest.mark.parametrize(
    ("base", "within"),
    [
        (Name.read(raw_name("\u00e9".encode(), 0x14)), True),
        (Name.read(raw_name("\u00e9".encode())), False),
        (Name.read(raw_name("\u00c3\u00a9".encode())), False),
        (Name.read(raw_name(b"\xe9", 0x14)), False),
        (Name.read(raw_name(b"\xc3\xa9 ", 0x14)), True),
        (Name.read(sequence()), True),
    ],
)
def test_name_with_a_teletex_string_lies_within_a_base_only_under_both_readings(base: Name, within: bool) -> None:
    """Of the name and the base alike; under any reading it may lie within each of these (RFC 5280 section 4.1.2.4)."""
    assert E_ACUTE.within(base) is within
    assert E_ACUTE.may_be_within(base)
    # A base of two readings permits only a name that has the same two.
    assert made(common("\u00e9")).within(E_ACUTE) is False


def printable(*texts: bytes) -> Name:
    """A name of common names, each a PrintableString."""
    return Name.read(sequence(*(raw_name(text, 0x13)[2:] for text in texts)))


CAFE = printable(b"Caf\xe9")


@pytest.mark.parametrize(
    "other",
    [
        raw_name("Caf\u00e9".encode()),
        raw_name(b"Caf\xe9", 0x14),
        raw_name("Caf\u00e9".encode(), 0x13),
        raw_name(b"caf\xe9", 0x13),
        raw_name(b"Caf\xe9 ", 0x13),
        raw_name(b"Caf\xc9", 0x13),
        raw_name(b"Caf\xe9", 0x03),
        raw_name(b"#1304436166e9"),
        raw_name(b"Caf", 0x13),
        sequence(tlv(0x31, sequence(bytes.fromhex("060355040a"), tlv(0x13, b"Caf\xe9")))),
    ],
)
def test_printable_string_beyond_ascii_equals_the_same_bytes_alone(other: bytes) -> None:
    """In no other case, spacing, type or encoding: its letters are unknown (golang/go issue 21339 has them in GBK)."""
    assert printable(b"Caf\xe9") == CAFE
    assert Name.read(other) not in {CAFE, CAFE.latin}
    assert Name.read(other).latin not in {CAFE, CAFE.latin}


def test_printable_string_beyond_ascii_is_within_no_base_that_is_text() -> None:
    """What stands above it is compared as ever."""
    name = printable(b"Acme", b"Caf\xe9")
    assert name.within(printable(b"ACME"))
    assert not name.within(made(common("Acme"), common("Caf\u00e9")))


@pytest.mark.parametrize(
    ("base", "excluded"),
    [
        (made(common("acme")), True),
        (made(common("acme"), common("Caf\u00e9")), True),
        (made(common("acme"), common("anything")), True),
        (made(common("acme"), common("anything"), common("alice")), True),
        (made(common("other")), False),
        (made(common("other"), common("Caf\u00e9")), False),
        (made(*[common("acme")] * 4), False),
        (Name.read(sequence()), True),
    ],
)
def test_printable_string_beyond_ascii_may_be_within_any_base_below_what_stands_above_it(
    base: Name, excluded: bool
) -> None:
    """An excluded subtree cannot be left by a string that somebody reads as its text."""
    assert printable(b"Acme", b"Caf\xe9", b"alice").may_be_within(base) is excluded


def test_teletex_string_above_an_opaque_one_keeps_both_readings() -> None:
    """An excluded subtree holds under either."""
    name = Name.read(sequence(*(raw_name(*text)[2:] for text in (("\u00e9".encode(), 0x14), (b"\xe9", 0x13)))))
    for above in ("\u00e9", "\u00c3\u00a9"):
        assert name.may_be_within(made(common(above), common("x")))
    assert not name.may_be_within(made(common("e"), common("x")))


def test_several_attributes_with_an_opaque_one_are_compared_in_any_order() -> None:
    """Each by its own rule."""
    attributes = [sequence(CN, tlv(0x13, b"Caf\xe9")), sequence(bytes.fromhex("060355040a"), tlv(0x13, b"Acme"))]
    one, other = (Name.read(sequence(tlv(0x31, *order))) for order in (attributes, attributes[::-1]))
    assert one == other
    assert one.may_be_within(made(ORG))
    assert not made(common("Acme")).may_be_within(made(ORG))


def test_opaque_string_is_written_in_hex_and_is_no_address() -> None:
    """RFC 4514 section 2.4, so that no other name has the same text."""
    assert CAFE.text == "CN=#1304436166e9"
    assert made(common("#1304436166e9")).text == r"CN=\#1304436166e9"
    address = sequence(tlv(0x31, sequence(bytes.fromhex("06092a864886f70d010901"), tlv(0x13, b"\xe9@host.test"))))
    assert Name.read(address).email_addresses() == ["#130be940686f73742e74657374"]


def test_text_is_rfc4514() -> None:
    """Least significant first."""
    assert made(ORG, common("a")).text == "CN=a,O=Acme"
    assert repr(made(ORG)) == "Name('O=Acme')"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a,b", r"CN=a\,b"),
        (' "a\\', r"CN=\ \"a\\"),
        ("#a ", r"CN=\#a\ "),
        (" ", r"CN=\ "),
        ("a\0b", r"CN=a\00b"),
        ("a#b c", "CN=a#b c"),
    ],
)
def test_text_is_escaped_as_rfc4514_says(value: str, text: str) -> None:
    """Section 2.4; control characters are for whatever displays it."""
    assert made(common(value)).text == text


def test_text_of_what_is_no_character_string_is_hex() -> None:
    """And of types without a short name the number."""
    assert Name.read(raw_name(b"\x05\x00", 0x30)).text == "CN=#30020500"
    assert made(x509.NameAttribute(NameOID.GIVEN_NAME, "x")).text == "2.5.4.42=x"


def test_text_of_several_values_joins_them() -> None:
    """With a plus."""
    assert Name(x509.Name([x509.RelativeDistinguishedName([common("a"), ORG])])).text in {"CN=a+O=Acme", "O=Acme+CN=a"}


def test_name_extended_by_an_rdn_lies_below() -> None:
    """As distribution points relative to their CRL issuer do."""
    below = made(ORG).extended(x509.RelativeDistinguishedName([common("crl")]))
    assert below == made(ORG, common("CRL"))


def test_values_are_found_by_type() -> None:
    """E-mail addresses, as they stand."""
    mail = x509.NameAttribute(NameOID.EMAIL_ADDRESS, "A@host.test", T.IA5String)
    name = made(ORG, common("Alice"), mail)
    assert name.email_addresses() == ["A@host.test"]


def test_size_of_a_name_counts_what_it_was_written_in() -> None:
    """White space that no comparison sees is kept all the same."""
    short, long = (Name.read(raw_name(b"a" + b" " * spaces)) for spaces in (0, 500))
    assert short == long
    assert long.size == short.size + 500 + 6  # of string, attribute and set the lengths take three octets, not one
