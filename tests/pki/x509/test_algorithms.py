"""Keys and signatures are what the tables hold, byte for byte, and policies can only narrow them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority, new_key
from support.outcomes import parsed, reason
from support.raw_der import handmade, raw_name, sequence, tlv
from support.tampered import pss_key, reissued, sha1_signed

from authz.errors import Refused
from authz.pki.crl.crl import Crl
from authz.pki.validation_policy import ValidationPolicy
from authz.pki.x509 import der
from authz.pki.x509.algorithms import AlgorithmRules, Key, Signed, SignedDigest, plain_spki, read_key, verify_signature
from authz.reasons import Reason

RSA = new_key("rsa2048")
RSA_ROOT = Authority.root("RSA", key=RSA)
NIST, BRAINPOOL = ("p256", "p384", "p521"), ("bp256", "bp384", "bp512")
KEYS = {kind: new_key(kind) for kind in (*NIST, *BRAINPOOL, "ed25519", "ed448", "rsa2048")}
NOT_ALLOWED, INVALID = Reason.ALGORITHM_NOT_ALLOWED, Reason.SIGNATURE_INVALID


def spki(key: object) -> bytes:
    """The SubjectPublicKeyInfo of a private key."""
    public = key.public_key()  # type: ignore[attr-defined]
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]


def rsa_spki(
    modulus: int, exponent: int, unused: bytes = b"\0", algorithm: str = "300d06092a864886f70d0101010500"
) -> bytes:
    """An RSA key of any numbers."""
    numbers = [number.to_bytes(number.bit_length() // 8 + 1, "big") for number in (modulus, exponent)]
    inside = sequence(*(tlv(0x02, one) for one in numbers))
    return sequence(bytes.fromhex(algorithm), tlv(0x03, unused, inside))


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("p256", Key("secp256r1", 0, 1)),
        ("p384", Key("secp384r1", 0, 8)),
        ("p521", Key("secp521r1", 0, 8)),
        ("bp256", Key("brainpoolP256r1", 0, 5)),
        ("bp384", Key("brainpoolP384r1", 0, 10)),
        ("bp512", Key("brainpoolP512r1", 0, 13)),
        ("ed25519", Key("ed25519", 0, 3)),
        ("ed448", Key("ed448", 0, 3)),
        ("rsa2048", Key("rsa", 2048, 1)),
    ],
)
def test_key_of_an_accepted_kind_is_reported(kind: str, key: Key) -> None:
    """Kind, size, and what a verification costs; the library reads the same key."""
    assert read_key(spki(KEYS[kind])) == key


@pytest.mark.parametrize(("bits", "cost"), [(2048, 1), (2900, 1), (2901, 2), (8192, 8)])
def test_cost_of_rsa_grows_with_the_square_of_its_size(bits: int, cost: int) -> None:
    """So that a chain of large keys counts as what it costs."""
    assert read_key(rsa_spki(2**bits - 1, 65537)).cost == cost
    without_null = rsa_spki(2**bits - 1, 65537, algorithm="300b06092a864886f70d010101")
    assert read_key(without_null) == read_key(rsa_spki(2**bits - 1, 65537))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (spki(dsa.DSAPublicNumbers(5, dsa.DSAParameterNumbers(2**2047 + 1, 2**255 + 1, 2))), NOT_ALLOWED),
        (spki(ec.generate_private_key(ec.SECP256K1())), NOT_ALLOWED),
        (spki(ec.generate_private_key(ec.SECP192R1())), NOT_ALLOWED),
        (spki(ec.generate_private_key(ec.SECP224R1())), NOT_ALLOWED),
        (rsa_spki(2**1023 - 1, 65537), Reason.KEY_SIZE_NOT_ALLOWED),
        (rsa_spki(2**2048 - 1, 65537, algorithm="300e06092a864886f70d01010105 0100"), NOT_ALLOWED),
        (rsa_spki(2**8193 - 1, 65537), Reason.KEY_SIZE_NOT_ALLOWED),
        (rsa_spki(2**2048 - 1, 2**32 + 1), Reason.KEY_SIZE_NOT_ALLOWED),
    ],
)
def test_key_outside_the_tables_is_refused(data: bytes, expected: Reason) -> None:
    """DSA, other curves, parameters that are missing, sizes and exponents beyond the limits."""
    with pytest.raises(Refused) as caught:
        read_key(data)
    assert caught.value.reason is expected


@pytest.mark.parametrize(
    "data",
    [
        rsa_spki(2**2048 - 1, 1),
        rsa_spki(2**2048 - 1, 65536),
        rsa_spki(2**2048, 65537),
        rsa_spki(3, 65537),
        rsa_spki(2**2048 - 1, 65537, b"\1"),
        sequence(bytes.fromhex("300d06092a864886f70d0101010500"), tlv(0x03, b"\0", sequence(tlv(0x02, b"\3")))),
    ],
)
def test_key_that_cannot_be_is_an_error(data: bytes) -> None:
    """Exponent one, even numbers, unused bits, a number missing."""
    with pytest.raises(ValueError, match=r"RSA|DER"):
        read_key(data)


def repointed(kind: str, point: bytes, unused: bytes = b"\0") -> bytes:
    """A key of that kind with another point."""
    whole = spki(KEYS[kind])
    start = der.content(whole, 0)
    return sequence(whole[start : der.after(whole, start)], tlv(0x03, unused, point))


@given(st.sampled_from([*NIST, *BRAINPOOL]), st.binary(min_size=66, max_size=66), st.sampled_from(b"\0\2\3\4\6"))
def test_point_is_read_as_the_library_reads_it(kind: str, drawn: bytes, form: int) -> None:
    """Half of all numbers are the x of a point; with its y it is one, with another it is not."""
    size = (KEYS[kind].key_size + 7) // 8  # type: ignore[union-attr]
    x = drawn[-size:]
    for rest in (b"", drawn[:size], drawn[: size - 1]):
        data = repointed(kind, bytes([form]) + x + rest)
        assert readable(lambda data=data: read_key(data)) is readable(lambda data=data: load_der_public_key(data))


def readable(read: Callable[[], object]) -> bool:
    """Whether it raises no error."""
    try:
        read()
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("kind", [*NIST, *BRAINPOOL])
def test_point_is_one_in_both_forms_and_not_beside_the_curve(kind: str) -> None:
    """Compressed (RFC 5480 section 2.2) or not; but neither infinity, nor beside unused bits, nor above the prime."""
    public = KEYS[kind].public_key()
    forms = (serialization.PublicFormat.UncompressedPoint, serialization.PublicFormat.CompressedPoint)
    whole, short = (public.public_bytes(serialization.Encoding.X962, form) for form in forms)
    for point in (whole, short):
        assert read_key(repointed(kind, point)).bits == 0
        with pytest.raises(ValueError, match="not a public key"):
            read_key(repointed(kind, point, b"\1"))
    high = short[:1] + b"\xff" * (len(short) - 1)
    for point in (b"", b"\0", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"\6" + whole[1:], short + b"\0", high):
        with pytest.raises(ValueError, match="not a public key"):
            read_key(repointed(kind, point))


@pytest.mark.parametrize("kind", [*NIST, *BRAINPOOL])
def test_compressed_point_costs_twice(kind: str) -> None:
    """It takes a square root to read, and one more to load."""
    public = KEYS[kind].public_key()
    form = serialization.PublicFormat.CompressedPoint
    short = public.public_bytes(serialization.Encoding.X962, form)
    assert read_key(repointed(kind, short)).cost == 2 * read_key(spki(KEYS[kind])).cost


@pytest.mark.parametrize("kind", ["ed25519", "ed448"])
def test_edwards_key_of_another_length_is_an_error(kind: str) -> None:
    """RFC 8032: 32 and 57 octets."""
    assert read_key(repointed(kind, spki(KEYS[kind])[12:])).kind == kind
    with pytest.raises(ValueError, match="not a public key"):
        read_key(repointed(kind, spki(KEYS[kind])[13:]))


def test_key_on_a_curve_written_out_is_refused() -> None:
    """RFC 5480 section 2.1.1 forbids it; the parameters might be nearly those of a curve one knows."""
    parameters = sequence(tlv(0x02, b"\1"), sequence(bytes.fromhex("06072a8648ce3d0101"), tlv(0x02, b"\7")))
    algorithm = sequence(bytes.fromhex("06072a8648ce3d0201"), parameters)
    with pytest.raises(Refused) as caught:
        read_key(sequence(algorithm, tlv(0x03, b"\0\4")))
    assert caught.value.reason is NOT_ALLOWED


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_signature_of_an_accepted_kind_verifies(kind: str, digest: hashes.HashAlgorithm) -> None:
    """And under no other key; leaves and CAs alike."""
    chosen = None if kind.startswith("ed") else digest
    root = Authority.root(key=KEYS[kind], digest=chosen)
    leaf = parsed(root.leaf(digest=chosen))[0]
    verify_signature(parsed(root)[0].public_key, leaf.signed)
    for other in (new_key("p256"), RSA, new_key("ed25519")):
        with pytest.raises(Refused) as caught:
            verify_signature(other.public_key(), leaf.signed)
        assert caught.value.reason is INVALID


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA512()])
def test_signature_verifies_by_its_digest_alone(kind: str, digest: hashes.HashAlgorithm) -> None:
    """And under no other key; where the digest is inside the algorithm, by the keys that may sign."""
    root = parsed(Authority.root(key=KEYS[kind], digest=None if kind.startswith("ed") else digest))[0]
    made = SignedDigest(root.x509, 0, root.signed.digest(), {root.spki_sha256})
    verify_signature(root.public_key, made)
    assert bool(made.digest) is not kind.startswith("ed")
    for other in (new_key("p256"), RSA, new_key("ed25519"), new_key("ed448")):
        with pytest.raises(Refused) as caught:
            verify_signature(other.public_key(), made)
        assert caught.value.reason is INVALID


@pytest.mark.parametrize("kind", KEYS)
def test_signature_with_unused_bits_is_invalid(kind: str) -> None:
    """Under every key: no signature covers the number of unused bits."""
    root = parsed(Authority.root(key=KEYS[kind], digest=None if kind.startswith("ed") else hashes.SHA256()))[0]
    for made in (
        Signed(root.x509, 1, root.signed.tbs),
        SignedDigest(root.x509, 7, root.signed.digest(), {root.spki_sha256}),
    ):
        with pytest.raises(Refused) as caught:
            verify_signature(root.public_key, made)
        assert caught.value.reason is INVALID


def test_signature_by_another_digest_is_invalid() -> None:
    """What was signed is what counts, not the signer's name."""
    root = parsed(RSA_ROOT)[0]
    with pytest.raises(Refused) as caught:
        verify_signature(root.public_key, SignedDigest(root.x509, 0, bytes(32), {root.spki_sha256}))
    assert caught.value.reason is INVALID


def test_signature_broken_in_one_bit_is_invalid() -> None:
    """The last octet of the leaf's."""
    der = bytearray(RSA_ROOT.leaf().der)
    der[-1] ^= 1
    assert reason(bytes(der), anchors=[RSA_ROOT]) is INVALID


@pytest.mark.parametrize("digest", [hashes.SHA224(), hashes.SHA3_256()])
def test_signature_of_another_digest_is_refused(digest: hashes.HashAlgorithm) -> None:
    """What is not in the table is not accepted, however strong."""
    assert reason(RSA_ROOT.leaf(digest=digest), anchors=[RSA_ROOT]) is NOT_ALLOWED


def pss(digest: hashes.HashAlgorithm, salt: int) -> padding.PSS:
    """RSA-PSS with MGF1 over `digest`."""
    return padding.PSS(mgf=padding.MGF1(digest), salt_length=salt)


@pytest.mark.parametrize(
    ("rsa_padding", "digest", "expected"),
    [
        (pss(hashes.SHA256(), 32), hashes.SHA256(), None),
        (pss(hashes.SHA512(), 64), hashes.SHA512(), None),
        (pss(hashes.SHA256(), 0), hashes.SHA256(), None),
        (pss(hashes.SHA512(), 32), hashes.SHA256(), NOT_ALLOWED),
        (pss(hashes.SHA224(), 28), hashes.SHA224(), NOT_ALLOWED),
        (pss(hashes.SHA256(), 222), hashes.SHA256(), None),
    ],
)
def test_pss_parameters_are_checked(
    rsa_padding: padding.PSS, digest: hashes.HashAlgorithm, expected: Reason | None
) -> None:
    """RFC 4055 section 3.1: SHA-2 throughout, and a salt that the modulus bounds: 222 bytes here, as OpenSSL writes."""
    leaf = RSA_ROOT.leaf(rsa_padding=rsa_padding, digest=digest)
    assert reason(leaf, anchors=[RSA_ROOT]) is expected


def test_pss_parameters_that_cannot_be_read_are_refused() -> None:
    """An unknown digest among them raises late in the library, and so do parameters that are missing."""
    key = KEYS["p256"]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    bare = sequence(bytes.fromhex("06092a864886f70d01010a"))
    missing = handmade(key, issuer=raw_name(b"RSA"), subject=raw_name(b"x"), inner=bare, outer=bare)
    assert reason(missing, anchors=[RSA_ROOT]) in {NOT_ALLOWED, Reason.CERTIFICATE_MALFORMED}
    leaf = RSA_ROOT.leaf(rsa_padding=pss(hashes.SHA256(), 32))
    odd = leaf.der.replace(bytes.fromhex("0609608648016503040201"), bytes.fromhex("060960864801650304027f"))
    assert reason(odd, anchors=[RSA_ROOT]) is NOT_ALLOWED


def test_policy_narrows_signatures_and_keys() -> None:
    """Of the whole path: leaf's and CA's keys, leaf's and CA's signatures."""
    root, small = Authority.root(), RSA_ROOT
    only_p256 = ValidationPolicy(algorithms=AlgorithmRules(keys=frozenset({"secp256r1"})))
    assert reason(root.leaf(), anchors=[root], policy=only_p256) is None
    assert reason(small.leaf(), anchors=[small], policy=only_p256) is NOT_ALLOWED
    assert reason(root.leaf(key=RSA), anchors=[root], policy=only_p256) is NOT_ALLOWED
    large = ValidationPolicy(algorithms=AlgorithmRules(min_rsa_bits=3072))
    assert reason(small.leaf(), anchors=[small], policy=large) is Reason.KEY_SIZE_NOT_ALLOWED
    sha512 = ValidationPolicy(algorithms=AlgorithmRules(signatures=frozenset({"1.2.840.10045.4.3.4"})))
    assert reason(root.leaf(), anchors=[root], policy=sha512) is NOT_ALLOWED
    assert reason(root.leaf(digest=hashes.SHA512()), anchors=[root], policy=sha512) is None


def test_policy_cannot_widen_the_tables() -> None:
    """Whatever it names, what the tables do not hold stays refused."""
    wide = AlgorithmRules(signatures=frozenset({x509.SignatureAlgorithmOID.RSA_WITH_SHA224.dotted_string}))
    leaf = RSA_ROOT.leaf(digest=hashes.SHA224())
    assert reason(leaf, anchors=[RSA_ROOT], policy=ValidationPolicy(algorithms=wide)) is NOT_ALLOWED
    small = ValidationPolicy(algorithms=AlgorithmRules(min_rsa_bits=512))
    tiny = handmade(KEYS["p256"], issuer=raw_name(b"P"), subject=raw_name(b"x"), spki=rsa_spki(2**768 - 1, 65537))
    anchor = Authority.root("P", key=KEYS["p256"])
    assert reason(tiny, anchors=[anchor], policy=small) is Reason.KEY_SIZE_NOT_ALLOWED


@pytest.mark.parametrize("kind", BRAINPOOL)
def test_brainpool_is_accepted_where_a_policy_names_it(kind: str) -> None:
    """Of leaf and CA; by default of neither."""
    root, name = Authority.root(key=KEYS[kind]), KEYS[kind].curve.name  # type: ignore[union-attr]
    wide = ValidationPolicy(algorithms=AlgorithmRules(keys=frozenset({"secp256r1", name})))
    for anchor, leaf in ((root, root.leaf()), (RSA_ROOT, RSA_ROOT.leaf(key=KEYS[kind]))):
        assert reason(leaf, anchors=[anchor]) is NOT_ALLOWED
    assert reason(root.leaf(key=KEYS[kind]), anchors=[root], policy=wide) is None


# RFC 4055 section 3.1: the AlgorithmIdentifiers of digests; the fields of RSASSA-PSS-params.
SHA256, SHA512 = (bytes.fromhex(f"300d060960864801650304020{n}0500") for n in (1, 3))
MGF1 = bytes.fromhex("06092a864886f70d010108")


def pss_terms(digest: bytes, mask: bytes, salt: bytes = b"\x20") -> bytes:
    """The parameters of a key for PSS."""
    inside = tlv(0xA0, digest), tlv(0xA1, sequence(MGF1, mask)), tlv(0xA2, tlv(0x02, salt)) if salt else b""
    return sequence(*inside)


PSS_RULES = ValidationPolicy(algorithms=AlgorithmRules(keys=frozenset({"secp256r1", "rsassa-pss"})))


@pytest.mark.parametrize(
    ("terms", "rsa_padding", "expected"),
    [
        (b"", pss(hashes.SHA512(), 0), None),
        (b"", padding.PKCS1v15(), INVALID),
        (pss_terms(SHA256, SHA256), pss(hashes.SHA256(), 32), None),
        (pss_terms(SHA256, SHA256), pss(hashes.SHA256(), 222), None),
        (pss_terms(SHA256, SHA256), pss(hashes.SHA256(), 31), INVALID),
        (pss_terms(SHA256, SHA256), pss(hashes.SHA512(), 64), INVALID),
        (pss_terms(SHA256, SHA256, b""), pss(hashes.SHA256(), 20), None),
        (pss_terms(SHA256, SHA256, b""), pss(hashes.SHA256(), 19), INVALID),
        (pss_terms(SHA256, SHA512), pss(hashes.SHA256(), 32), NOT_ALLOWED),
        (sequence(), pss(hashes.SHA256(), 32), NOT_ALLOWED),
    ],
)
def test_key_for_pss_verifies_nothing_but_pss_with_its_terms(
    terms: bytes, rsa_padding: padding.AsymmetricPadding, expected: Reason | None
) -> None:
    """RFC 4055 section 3.3: its digest and no shorter salt; the library would verify PKCS #1 under it as well."""
    ca = Authority.root("PSS", key=RSA)
    digest = rsa_padding.mgf._algorithm if isinstance(rsa_padding, padding.PSS) else hashes.SHA256()
    leaf = ca.leaf(rsa_padding=rsa_padding, digest=digest)
    anchor = reissued(ca, ca, pss_key(terms)).der
    assert reason(leaf, anchors=[anchor], policy=PSS_RULES) is expected
    assert reason(leaf, anchors=[anchor]) is NOT_ALLOWED


def test_crl_verifies_under_no_weak_key_and_with_no_sha1() -> None:
    """Whatever a policy accepts in stored certificates: nothing but this decides it."""
    verify_signature(parsed(RSA_ROOT)[0].public_key, Crl(RSA_ROOT.crl()).signed)
    weak = Authority.root("Weak", key=new_key("rsa1024"))
    with pytest.raises(Refused) as caught:
        verify_signature(parsed(weak)[0].public_key, Crl(weak.crl()).signed)
    assert caught.value.reason is INVALID
    for ca in (RSA_ROOT, Authority.root()):
        with pytest.raises(Refused) as caught:
            Crl(sha1_signed(ca.crl(), ca)).signed  # noqa: B018 - read for what it raises
        assert caught.value.reason is NOT_ALLOWED


def test_key_has_one_plain_form() -> None:
    """Whether its point is compressed."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    algorithm = bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107")
    stated = der.tlv(der.SEQUENCE, algorithm, der.tlv(der.BIT_STRING, b"\0" + compressed))
    assert plain_spki(stated) == key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != stated


@pytest.mark.parametrize(("identifier", "named"), [(bytes.fromhex("2a0304"), "1.2.3.4"), (b"\x80", "3003060180")])
def test_key_of_an_unknown_algorithm_is_refused_by_its_name(identifier: bytes, named: str) -> None:
    """Or by its octets, if it has none that can be read."""
    with pytest.raises(Refused, match=named) as caught:
        read_key(sequence(sequence(tlv(0x06, identifier)), tlv(0x03, b"\0")))
    assert caught.value.reason is Reason.ALGORITHM_NOT_ALLOWED
