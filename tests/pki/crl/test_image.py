"""CRLs made by one process and used by others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority, Minted, entry, name, new_key, tlv
from support.raw_der import with_unused_bit

from authz.errors import Refused
from authz.pki.crl.crl import Crl
from authz.pki.crl.hashed_index import HashedIndex, build, digest_of
from authz.pki.crl.image import HashedCrl, ImageHeader, make_image, open_image
from authz.pki.crl.index import RevokedEntry
from authz.pki.x509.algorithms import verify_signature
from authz.pki.x509.distinguished_name import Name
from authz.reasons import Reason

KEY = bytes(range(32))
CA = Authority.root("CA")
ISSUER = Name(name("CA"))
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
POINT = x509.IssuingDistributionPoint(
    [x509.UniformResourceIdentifier("http://crl.example.test/1")], None, True, False, None, True, False
)
CRLS = [
    CA.crl(),
    CA.crl(5, entry(6, reason=x509.ReasonFlags.certificate_hold), number=7),
    CA.crl(entry(1, issuer=name("Other")), 2, extensions=[(POINT, True)]),
    CA.crl(entry(3, extensions=[(UNKNOWN, True)]), number=9, extensions=[(x509.DeltaCRLIndicator(4), True)]),
    CA.crl(number=None, extensions=[(UNKNOWN, True)]),
]


def spki(minted: Minted) -> bytes:
    """The SubjectPublicKeyInfo of its key."""
    return minted.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def image(data: bytes, *signers: Minted) -> bytes:
    """The image of a CRL, in one piece."""
    return b"".join(make_image(data, map(spki, signers or (CA,)), KEY))


def crl_of(data: bytes, *signers: Minted) -> HashedCrl:
    """A CRL by its image."""
    return open_image(image(data, *signers))


def refusal(data: bytes, *signers: Minted) -> Reason:
    """Why no image is made."""
    with pytest.raises(Refused) as caught:
        image(data, *signers)
    return caught.value.reason


@pytest.mark.parametrize("data", CRLS)
def test_image_says_what_the_crl_says(data: bytes) -> None:
    """Everything that the validator asks of a CRL, without the CRL."""
    whole, small = Crl(data), crl_of(data)
    private = {one for one in vars(whole) if one.startswith("_")} | {"der", "index", "shared"}
    assert [one for one in vars(whole).keys() - private if vars(whole)[one] != vars(small)[one]] == []
    assert (small.is_delta, small.indirect, small.der) == (whole.is_delta, whole.indirect, None)
    assert len(small.index) == len(whole.index)


def test_image_finds_who_is_listed() -> None:
    """By issuer and serial number; the reason is not kept."""
    found = crl_of(CRLS[2]).index
    assert (found.find(1, Name(name("Other"))), found.find(2, Name(name("Other")))) == (RevokedEntry(), RevokedEntry())
    assert (found.find(1, ISSUER), crl_of(CRLS[1]).index.find(6, ISSUER)) == (None, RevokedEntry())


def test_image_of_a_delta_tells_removals() -> None:
    """And one of a complete CRL has none."""
    removed = entry(5, reason=x509.ReasonFlags.remove_from_crl)
    delta = CA.crl(removed, extensions=[(x509.DeltaCRLIndicator(1), True)])
    assert crl_of(delta).index.find(5, ISSUER) == RevokedEntry(8)
    assert crl_of(CA.crl(removed)).index.find(5, ISSUER) == RevokedEntry()


KINDS = {
    "p256": SHA256(), "p384": SHA384(), "p521": SHA512(), "rsa2048": SHA384(), "ed25519": None, "ed448": None,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "digest"), KINDS.items())
def test_signature_of_an_image_verifies_under_the_signer_alone(kind: str, digest: HashAlgorithm | None) -> None:
    """Without the bytes that were signed, whatever the algorithm."""
    ca, other = Authority.root("CA", key=new_key(kind)), Authority.root("CA", key=new_key(kind))
    crl = crl_of(ca.crl(5, digest=digest), other, ca, CA)
    verify_signature(ca.certificate.public_key(), crl.signed)
    for one in (other, CA):
        with pytest.raises(Refused) as caught:
            verify_signature(one.certificate.public_key(), crl.signed)
        assert caught.value.reason is Reason.SIGNATURE_INVALID
    assert crl._header.keys == {identity(ca)}


def identity(minted: Minted) -> bytes:
    """SHA-256 of its SubjectPublicKeyInfo."""
    return sha256(spki(minted)).digest()


def test_signature_in_pss_verifies() -> None:
    """With the parameters that the CRL states."""
    ca = Authority.root("CA", key=new_key("rsa2048"))
    parsed = x509.load_der_x509_crl(ca.crl())
    builder = x509.CertificateRevocationListBuilder(parsed.issuer, parsed.last_update_utc, parsed.next_update_utc)
    pss: Any = padding.PSS(padding.MGF1(SHA256()), 32)
    signed = builder.sign(ca.key, SHA256(), rsa_padding=pss)
    verify_signature(ca.certificate.public_key(), crl_of(signed.public_bytes(Encoding.DER), ca).signed)


@pytest.mark.parametrize("signers", [[Authority.root("CA")], [Authority.root("CA", key=new_key("rsa1024"))]])
def test_crl_that_no_known_key_signed_is_refused(signers: Sequence[Minted]) -> None:
    """Before anything is made of its entries."""
    assert refusal(CA.crl(5), *signers) is Reason.SIGNATURE_INVALID


def test_crl_whose_signature_has_unused_bits_is_refused() -> None:
    """No signature covers their number; and an image that had been made all the same would prove nothing."""
    changed = with_unused_bit(CA.crl(5) for _ in range(99))
    assert refusal(changed, CA) is Reason.SIGNATURE_INVALID
    header, index = pieces()
    odd = HashedCrl(replace(header, emptied_crl=changed, digest=Crl(changed).signed.digest()), index)
    with pytest.raises(Refused) as caught:
        verify_signature(CA.certificate.public_key(), odd.signed)
    assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_crl_without_a_key_to_verify_it_is_refused() -> None:
    """An empty set of keys lets nothing in, and neither does one that cannot be read."""
    for keys in ([], [b"\x30\x00"]):
        with pytest.raises(Refused) as caught:
            make_image(CA.crl(), keys, KEY)
        assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_crl_signed_with_a_key_that_policy_refuses_is_refused() -> None:
    """Its signature may verify all the same."""
    ca = Authority.root("CA", key=new_key("rsa1024"))
    assert refusal(ca.crl(5), ca) is Reason.SIGNATURE_INVALID


def test_crl_of_a_weak_algorithm_is_refused() -> None:
    """What is not in the tables is not verified."""
    ca = Authority.root("CA", key=new_key("rsa2048"))
    data = ca.crl().replace(bytes.fromhex("2a864886f70d01010b"), bytes.fromhex("2a864886f70d010105"))
    assert refusal(data, ca) is Reason.ALGORITHM_NOT_ALLOWED


@pytest.mark.parametrize("data", [b"", CA.der, CA.crl(5)[:-1], CA.crl(5) + b"\0", CA.crl(entry(1, issuer=name("X")))])
def test_bytes_that_are_no_crl_are_refused(data: bytes) -> None:
    """As `Crl` refuses them."""
    assert refusal(data) is Reason.CRL_MALFORMED


HEADER = ImageHeader(bytes(32), b"head", b"digest", frozenset({bytes(32), b"\1" * 32}), "why", b"\2" * 32)


@given(st.binary(min_size=32, max_size=32), st.binary(), st.sets(st.binary(min_size=32, max_size=32)), st.text())
def test_header_is_what_was_written(digest: bytes, head: bytes, keys: set[bytes], why: str) -> None:
    """Whatever its fields hold that can be written at all."""
    why = why.encode("utf-8", "ignore").decode()
    one = ImageHeader(digest, head, head, frozenset(keys), why, digest)
    assert ImageHeader.from_bytes(one.to_bytes()) == one


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEADER.to_bytes() + b"\0",
        HEADER.to_bytes()[:-1],
        tlv(0x30, tlv(4, b"") * 5),
        tlv(0x30, tlv(4, b"") * 6),
        replace(HEADER, sha256=b"").to_bytes(),
        replace(HEADER, index=b"").to_bytes(),
        replace(HEADER, keys=frozenset({b"short"})).to_bytes(),
        HEADER.to_bytes().replace(b"why", b"\xff\xff\xff"),
    ],
)
def test_header_of_any_other_form_is_an_error(data: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"DER|header|decode"):
        ImageHeader.from_bytes(data)


IMAGE = image(CRLS[1])


@given(st.integers(0, len(IMAGE)))
def test_image_cut_short_is_an_error(end: int) -> None:
    """Wherever."""
    assert open_image(IMAGE).number == 7
    if end < len(IMAGE):
        with pytest.raises(ValueError, match=r"image|index|DER|header"):
            open_image(IMAGE[:end])


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda data: b"X" + data[1:], id="magic"),
        pytest.param(lambda data: data[:8] + b"\xff" * 8 + data[16:], id="length of the header"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="index"),
        pytest.param(lambda data: data + b"\0", id="something behind it"),
    ],
)
def test_image_of_any_other_form_is_an_error(edit: Callable[[bytes], bytes]) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"image|index"):
        open_image(edit(IMAGE))


def pieces() -> tuple[ImageHeader, HashedIndex]:
    """Header and index of one CRL."""
    index = build([], KEY, delta=False)
    return replace(HEADER, index=digest_of(index)), HashedIndex(b"".join(index))


def test_header_of_another_index_is_an_error() -> None:
    """Header and index are of one CRL."""
    header, index = pieces()
    with pytest.raises(ValueError, match="another CRL"):
        HashedCrl(replace(header, index=bytes(32)), index)


def test_header_without_a_crl_is_an_error() -> None:
    """What stands for the CRL is one."""
    with pytest.raises(ValueError, match="without a CRL"):
        HashedCrl(*pieces())
