"""What stands in a CRL beside its entries is counted before it is read."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable

import pytest
from support.certificates import Authority, tlv
from support.hostile_crls import (
    ACCESS,
    ALTERNATIVE,
    FRESHEST,
    HEADS,
    KEY_IDENTIFIER,
    POINT,
    PRIVATE,
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
from authz.pki.crl.bounds import (
    MAX_ENTRY_NAMES,
    MAX_EXTENSIONS,
    MAX_HEADER,
    MAX_NAME,
    MAX_NAMES,
    check_certificate_issuer,
    memory_of,
)
from authz.pki.crl.crl import Crl
from authz.pki.crl.image import HashedCrl, ImageHeader, make_image, open_image
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.distinguished_name import Name

CA = Authority.root("CA")
KEY = Certificate.parse(CA.der).spki_der
INDIRECT = point(URL, indirect=True)


def read_small(data: bytes) -> Crl:
    """As a small CRL is read, and one of the directory."""
    return Crl(data)


def indexed(data: bytes) -> HashedCrl:
    """As a large one is read."""
    return open_image(b"".join(make_image(data, [KEY], bytes(32))))


both = pytest.mark.parametrize("read", [read_small, indexed])
Read = Callable[[bytes], Crl]


def refusal(read: Read, data: bytes) -> str:
    """Why it is refused."""
    with pytest.raises(Refused) as caught:
        read(data)
    assert caught.value.reason == "crl_malformed"
    return caught.value.detail


@both
def test_crl_with_more_than_64_kib_beside_its_entries_is_refused(read: Read) -> None:
    """Whatever it is that is so long; a byte less is read, and entries do not count."""
    rest = len(signed(CA, extension(PRIVATE, bytes(40_000)), listed=entry(5) * 9)) - 40_000 - len(entry(5)) * 9
    # The signature has 70 to 72 bytes.
    fits = signed(CA, extension(PRIVATE, bytes(MAX_HEADER - rest - 8)), listed=entry(5) * 9_000)
    assert read(fits).issuer == Name(CA.certificate.subject)
    assert "outside revokedCertificates" in refusal(read, signed(CA, extension(PRIVATE, bytes(MAX_HEADER - rest + 8))))


@both
def test_crl_with_more_than_200_names_of_its_point_is_refused(read: Read) -> None:
    """200 are read."""
    assert read(signed(CA, point(*[b"\x82\x01x"] * MAX_NAMES, indirect=True))).sha256
    assert "200 names" in refusal(read, signed(CA, point(*[b"\x82\x01x"] * (MAX_NAMES + 1), indirect=True)))


@both
@pytest.mark.parametrize("value", [b"", b"\xff", b"\x30\x80\0\0", tlv(0x30, URL * 300)])
def test_crl_extension_that_has_no_say_is_not_read(read: Read, value: bytes) -> None:
    """Whatever is in it, and however many names."""
    assert not read(
        signed(CA, *(extension(oid, value) for oid in (FRESHEST, KEY_IDENTIFIER, ALTERNATIVE, ACCESS)))
    ).names


@both
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(lambda size: tlv(0x86, b"x" * size), id="url"),
        pytest.param(lambda size: tlv(0xA0, tlv(6, PRIVATE) + tlv(0xA0, tlv(12, b"x" * size))), id="other name"),
    ],
)
def test_crl_with_a_point_whose_name_is_longer_than_4_kib_is_refused(read: Read, name: Callable[[int], bytes]) -> None:
    """Names of 4,000 bytes that are no directory's are read."""
    assert read(signed(CA, point(name(MAX_NAME - 60)))).names
    for long in (name(MAX_NAME + 1), directory_name(attribute("x" * MAX_NAME))):
        assert "a name of" in refusal(read, signed(CA, point(long)))


@both
def test_crl_with_more_than_64_extensions_is_refused(read: Read) -> None:
    """Each becomes objects, whatever it is."""
    stated = [extension(PRIVATE + bytes([number]), b"") for number in range(MAX_EXTENSIONS + 1)]
    assert read(signed(CA, *stated[1:])).sha256
    assert "64 of them" in refusal(read, signed(CA, *stated))


@both
def test_crl_whose_issuer_has_a_name_of_more_than_4_kib_is_refused(read: Read) -> None:
    """It is prepared, compared and written in messages."""
    for length, passes in ((1_900, True), (MAX_NAME + 1, False)):
        data = signed(CA, issuer=tlv(0x30, attribute("x" * length)))
        if passes:
            assert read(data).issuer.text
        else:
            assert "issuer with a name of" in refusal(read, data)


@both
@pytest.mark.parametrize(
    "head",
    [
        pytest.param((tlv(0x30, b""),), id="no fields"),
        pytest.param((tlv(0x30, tlv(6, PRIVATE)),), id="no value"),
        pytest.param((extension(POINT, tlv(0x31, b"")),), id="point is no sequence"),
        pytest.param((extension(POINT, b"\x30\x80\x00\x00"),), id="indefinite length"),
        pytest.param((extension(POINT, b"\x30\x84\xff\xff\xff\xff"),), id="length beyond the end"),
        pytest.param((extension(POINT, b"\x30\x89" + bytes(8) + b"\x01x"),), id="length of nine bytes"),
        pytest.param((extension(POINT, b"\x30\x03\xbf\x81\x00"),), id="tag of several bytes"),
        pytest.param((extension(POINT, tlv(0x30, b"\xa0\x7f")),), id="names beyond the end"),
        pytest.param((tlv(0x31, b""),), id="extension that is a set"),
    ],
)
def test_head_that_is_not_der_is_refused(read: Read, head: tuple[bytes, ...]) -> None:
    """The walk comes before any parser, and goes nowhere."""
    assert refusal(read, signed(CA, *head))


@pytest.mark.parametrize("kind", HEADS)
def test_no_kind_of_head_takes_more_memory_than_it_is_charged(kind: str) -> None:
    """Of 30,000 bytes what is refused leaves nothing, and what passes no more than its CRL says."""
    data = signed(CA, *HEADS[kind](30_000))
    tracemalloc.start()
    crl = None
    with contextlib.suppress(Refused):
        crl = Crl(data)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= (0 if crl is None else crl.memory) + 8_192


@pytest.mark.parametrize(("count", "length"), [(200, 20), (16, 500)])
def test_names_of_a_point_take_no_more_memory_than_charged(count: int, length: int) -> None:
    """As many as pass, and as long, of attributes as short as can be."""
    short = tlv(0x31, tlv(0x30, b"\x06\x01\x2a\x0c\x00"))
    names = [directory_name(attribute(f"{number:03}"), *[short] * (length // 9)) for number in range(count)]
    data = signed(CA, point(*names))
    tracemalloc.start()
    crl = Crl(data)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(crl.names) == count
    assert crl.memory / 4 < taken < crl.memory


@pytest.mark.parametrize("differing", [False, True])
def test_entries_take_no_more_memory_than_charged(differing: bool) -> None:
    """A certificate issuer of 60 bytes in each of 200 entries: once where it is the same, each where they differ."""
    issuers = [certificate_issuer(directory_name(attribute(f"{number * differing:030}"))) for number in range(200)]
    data = signed(CA, INDIRECT, listed=b"".join(entry(number + 10**9, one) for number, one in enumerate(issuers)))
    Crl(data)  # the library keeps some of its own, once
    tracemalloc.start()
    crl = Crl(data)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert crl.memory / 4 < taken + len(data) < crl.memory
    assert (crl.index.memory > 200 * memory_of(Name(CA.certificate.subject))) is differing


@both
def test_certificate_issuer_of_more_than_4_kib_is_refused(read: Read) -> None:
    """A name that differs in each entry costs each time."""
    names = directory_name(attribute("x" * 1_900)), tlv(0x86, b"x" * 2_000)
    assert len(read(signed(CA, INDIRECT, listed=entry(5, certificate_issuer(*names)))).index) == 1
    long = directory_name(attribute("x" * MAX_NAME))
    assert "certificate issuer of" in refusal(read, signed(CA, INDIRECT, listed=entry(5, certificate_issuer(long))))


@both
def test_certificate_issuer_of_more_than_16_names_is_refused(read: Read) -> None:
    """One of which is a directory name, and the others are read past."""
    one = directory_name(attribute("x"))
    for more, passes in ((MAX_ENTRY_NAMES - 1, True), (MAX_ENTRY_NAMES, False)):
        data = signed(CA, INDIRECT, listed=entry(5, certificate_issuer(one, *[URL] * more)))
        if passes:
            assert len(read(data).index) == 1
        else:
            assert "16 names" in refusal(read, data)


def test_certificate_issuer_that_is_no_sequence_is_refused() -> None:
    """As the parser says later, too."""
    with pytest.raises(ValueError, match="DER"):
        check_certificate_issuer(b"")


def test_image_made_before_the_bounds_is_refused_where_it_is_opened() -> None:
    """A keeper that is started again finds images that another version made."""
    made = indexed(signed(CA, point(URL)))
    for head in (signed(CA, extension(PRIVATE, bytes(MAX_HEADER))), signed(CA, point(*[URL] * 201))):
        header = ImageHeader(made.sha256, head, bytes(32), frozenset(), "", made.index.digest)  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="without a CRL"):
            HashedCrl(header, made.index)  # type: ignore[arg-type]


def test_image_with_a_header_that_is_too_long_is_not_read() -> None:
    """Nor copied."""
    image = b"".join(make_image(signed(CA), [KEY], bytes(32)))
    with pytest.raises(ValueError, match="no image"):
        open_image(image[:8] + (10**6).to_bytes(8, "little") + image[16:] + bytes(10**6))
