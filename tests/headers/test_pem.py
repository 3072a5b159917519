"""Strict PEM."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority

from authz.errors import Refused
from authz.headers import pem
from authz.reasons import Reason

ROOT = Authority.root()
PEM = ROOT.pem.encode()


def test_blocks_are_read_in_order() -> None:
    """One behind the other."""
    other = Authority.root("Other")
    assert pem.certificates(PEM + other.pem.encode()) == (ROOT.der, other.der)


def test_write_then_read_is_identity() -> None:
    """And the writer's form is the library's."""
    assert pem.write([ROOT.der]) == PEM


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"\n" + PEM,
        PEM + b"\n",
        PEM[:-1],
        PEM.replace(b"\n", b"\r\n"),
        PEM.replace(b"BEGIN CERTIFICATE", b"BEGIN X509 CRL"),
        PEM.replace(b"\n", b"", 1),
        b"-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAAx\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMA=A\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMAB=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nMIIA\n-----END CERTIFICATE-----\n",
    ],
)
def test_anything_else_is_refused(text: bytes) -> None:
    """Other labels, other line ends, text around, base64 that is not canonical, no DER."""
    with pytest.raises(Refused):
        pem.certificates(text)


def test_escape_is_what_the_proxies_write_and_unescape_its_inverse() -> None:
    """Measured: LF, space, plus, slash and equals in upper-case hexadecimal, the dashes as they are."""
    assert pem.escape(PEM) == quote(PEM, safe="-").encode()
    assert pem.unescape(pem.escape(PEM)) == PEM


@pytest.mark.parametrize("text", [b"%", b"%0D", b"%2b", b"%41", b"%%0A", b"%252B"])
def test_other_escape_is_refused(text: bytes) -> None:
    """Also one that another decoder would read, and one that would be one after decoding twice."""
    with pytest.raises(Refused):
        pem.unescape(text)


@pytest.mark.parametrize("count", [0, 2])
def test_single_is_exactly_one(count: int) -> None:
    """None and two are refused."""
    assert pem.single(PEM) == ROOT.der
    with pytest.raises(Refused):
        pem.single(PEM * count)


ALPHABET = b"AQgw/+=-_x9 \n\0"


@given(st.binary(max_size=9), st.lists(st.tuples(st.integers(0, 15), st.sampled_from(list(ALPHABET))), max_size=2))
def test_base64_that_is_read_is_the_one_way_to_write_it(content: bytes, changes: list[tuple[int, int]]) -> None:
    """Whatever is changed in it: what is read is written again octet for octet."""
    text = bytearray(pem.encode_base64(b"\x30" + bytes([len(content)]) + content))
    for at, octet in changes:
        text[at % len(text)] = octet
    try:
        der = pem.decode_base64(bytes(text))
    except Refused:
        return
    assert pem.encode_base64(der) == text


def test_base64_cut_or_doubled_is_refused() -> None:
    """Padding in the middle, too little of it, and something behind it."""
    text = pem.encode_base64(b"\x30\x02ab")
    for odd in (text[:-1], text[:-2], text + text, text + b"=", text + b"A", b"=" + text, text[:3] + b"=" + text[3:]):
        with pytest.raises(Refused):
            pem.decode_base64(odd)


@pytest.mark.parametrize("size", range(2, 8))
@pytest.mark.parametrize("pads", [1, 2, 3, 4, 40])
def test_padding_that_is_not_needed_is_refused(size: int, pads: int) -> None:
    """Behind a whole quantum as well, which strict decoding passes over."""
    text = pem.encode_base64(b"\x30" + bytes([size]) + bytes(size))
    assert pem.decode_base64(text)
    with pytest.raises(Refused):
        pem.decode_base64(text + b"=" * pads)


def test_padding_on_two_lines_is_refused() -> None:
    """Escaped or not."""
    text = pem.encode_base64(b"\x30\x08" + bytes(8))
    assert text.endswith(b"==")
    odd = b"-----BEGIN CERTIFICATE-----\n" + text[:-1] + b"\n=\n-----END CERTIFICATE-----\n"
    for reader, value in ((pem.certificates, odd), (pem.escaped_certificates, pem.escape(odd))):
        with pytest.raises(Refused):
            reader(value)


def test_lines_of_up_to_76_characters_are_read() -> None:
    """Or all in one; none empty, none without an end: RFC 7468 section 3, and room for other writers."""
    body = pem.encode_base64(b"\x30\x81\xff" + bytes(255))
    lines = b"".join(body[at : at + 76] + b"\n" for at in range(0, len(body), 76))
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
    for good in (lines, body + b"\n"):
        assert len(pem.certificates(begin + good + end)) == 1
    odd = [
        body[:77] + b"\n" + body[77:] + b"\n",
        lines + b"\n",
        b"\n" + lines,
        lines[:-1],
        lines.replace(b"\n", b"\n\n", 1),
    ]
    for one in odd:
        with pytest.raises(Refused):
            pem.certificates(begin + one + end)


ESCAPED = pem.escape(PEM)
END = b"-----END CERTIFICATE-----%0A"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2_000),
            st.sampled_from(
                [b"", b"%", b"%0A", b"%2B", b"%3D", b"2B", b"%0A%0A", b"+", b"\n", b" ", b"=", b"A", END, PEM, ESCAPED]
            ),
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_escaped_pem_is_read_as_it_is_once_unescaped(changes: list[tuple[int, bytes]], twice: bool) -> None:
    """Whatever is put into it."""
    text = ESCAPED * (1 + twice)
    for at, more in changes:
        cut = at % len(text)
        text = text[:cut] + more + text[cut + (more == b"") :]

    def read(reader: Callable[[bytes], tuple[bytes, ...]]) -> tuple[bytes, ...] | None:
        try:
            return reader(text)
        except Refused:
            return None

    assert read(pem.escaped_certificates) == read(lambda escaped: pem.certificates(pem.unescape(escaped)))


def test_escape_that_two_lines_make_together_is_invalid() -> None:
    """A per cent sign at the end of a line, and its digits at the start of the next."""
    at = ESCAPED.index(b"%0A", 40)
    with pytest.raises(Refused):
        pem.escaped_certificates(ESCAPED[:at] + b"%" + b"%0A" + b"2B" + ESCAPED[at + 3 :])


@pytest.mark.parametrize("width", [1, 63, 64, 65, 76])
@pytest.mark.parametrize("octets", [40, 46, 48, 94, 96, 97, 250])
def test_escaped_lines_of_any_width_are_read(width: int, octets: int) -> None:
    """Those that end where a line is full, too; of full ones, the last may be empty nowhere."""
    der = b"\x30\x81" + bytes([octets]) + bytes(octets) if octets > 127 else b"\x30" + bytes([octets]) + bytes(octets)
    text = pem.encode_base64(der)
    lines = b"".join(text[at : at + width] + b"\n" for at in range(0, len(text), width))
    begin, end = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"
    good = pem.escape(begin + lines + end)
    if width > 2:  # else padding stands on two lines
        assert pem.escaped_certificates(good) == (der,)
    for odd in (lines + b"\n", b"\n" + lines, lines[:-1], b""):
        with pytest.raises(Refused):
            pem.escaped_certificates(pem.escape(begin + odd + end))


def test_escaped_lines_may_end_unescaped() -> None:
    """In the last line, too, where everything else looks like what Envoy writes."""
    der = b"\x30\x81\xff" + bytes(255)  # without padding, and nothing in it is escaped
    good = pem.escape(pem.write([der]))
    end = good.index(b"-----END")
    for at in (60, end - 5, end - 4):
        text = good[:at] + b"\n" + good[at:]
        assert pem.escaped_certificates(text) == pem.certificates(pem.unescape(text)) == (der,)


def test_padding_may_be_escaped_or_not() -> None:
    """Also one of two signs; it is never written so, and it says the same."""
    der = b"\x30\x02ab"
    for padding in (b"%3D%3D", b"%3D=", b"=%3D", b"=="):
        text = b"-----BEGIN%20CERTIFICATE-----%0AMAJhYg" + padding + b"%0A-----END%20CERTIFICATE-----%0A"
        assert pem.escaped_certificates(text) == (der,)


BOUND = pem.MAX_CERTIFICATES
NUMBERED = [b"\x30\x02" + number.to_bytes(2, "big") for number in range(BOUND + 1)]


@pytest.mark.parametrize(
    "read",
    [
        lambda ders: pem.decode_several(pem.encode_base64(b"".join(ders))),
        lambda ders: tuple(pem.decode_list(map(pem.encode_base64, ders))),
        lambda ders: pem.certificates(pem.write(ders)),
        lambda ders: pem.escaped_certificates(pem.escape(pem.write(ders))),
        lambda ders: pem.wrapped_certificates(pem.write(ders)),
    ],
)
def test_no_more_certificates_are_decoded_than_a_header_can_hold(
    read: Callable[[list[bytes]], tuple[bytes, ...]],
) -> None:
    """Duplicates count too: they are dropped once all are decoded."""
    assert read(NUMBERED[:-1]) == tuple(NUMBERED[:-1])
    for ders in (NUMBERED, NUMBERED[:1] * (BOUND + 1)):
        with pytest.raises(Refused) as caught:
            read(ders)
        assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES


def test_nothing_is_decoded_behind_the_bound() -> None:
    """What follows is not even looked at."""
    texts = iter([pem.encode_base64(b"".join(NUMBERED[:200])), pem.encode_base64(NUMBERED[0] * 57), b"not base64"])
    with pytest.raises(Refused) as caught:
        list(pem.decode_list(texts))
    assert caught.value.reason is Reason.TOO_MANY_CERTIFICATES
    assert next(texts) == b"not base64"
