"""What is read of a certificate agrees with cryptography wherever that accepts it; `FUZZ=100` makes 200,000 mutants."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import cryptography_vectors
import pytest
from cryptography import x509
from support import library_oracle
from support.certificates import Authority, san, usage
from support.mutants import change, forest
from support.odd_encodings import CERTIFICATES, CRLS, TRUE, certificate, extension
from support.vectors import limbo_cases

from authz.errors import Refused
from authz.pki import Certificate, Crl
from authz.pki.x509 import tolerated
from authz.pki.x509.library import pem_blocks

ROUNDS = 2_000 * int(os.environ.get("FUZZ", "1"))

# What is refused though the library reads it, in the words of its refusal.
STRICTER = re.compile(
    "appears twice|version 1|a name of|parts in a name|without attributes|combining marks|normalizing adds|too many"
    "|^$|policy mappings|minimum or maximum|the signature algorithms inside and outside differ|path length|algorithm"
)


def rewritten(data: bytes, rewrite: Callable[[bytes], bytes]) -> bytes:
    """As the library is given it where it refused it, if that is possible."""
    try:
        return rewrite(data)
    except ValueError:
        return data


def check(ders: Iterable[bytes]) -> tuple[int, int]:
    """Compare; how many the library read, and how many of these are refused here by a rule that is stricter."""
    read = refused = 0
    for der in ders:
        said = library_oracle.read(der)
        if said is None:
            continue
        read += 1
        detail = _compared(der, said)
        assert STRICTER.search(detail), (detail, der.hex())
        refused += bool(detail)
    return read, refused


def _compared(der: bytes, said: dict[str, object]) -> str:
    """The detail of a refusal; empty where the certificate is read, and alike."""
    try:
        assert library_oracle.ours(der, said) == said, der.hex()
    except Refused as refusal:
        return refusal.detail
    assert rewritten(der, tolerated.certificate) == der, der.hex()
    return ""


def vectors() -> Iterator[bytes]:
    """Every certificate among the library's own vectors."""
    folder = Path(cryptography_vectors.__file__).parent / "x509"
    for path in sorted(folder.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        if b"BEGIN CERTIFICATE-" in data:
            yield from pem_blocks(data, b"CERTIFICATE")
        elif data[:1] == b"\x30":
            yield data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_vectors_of_the_library_are_read_alike() -> None:
    """PKITS, and what its authors collected."""
    read, refused = check(vectors())
    assert read > 500
    assert refused < 20


@pytest.mark.slow
@pytest.mark.limbo
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_limbo_is_read_alike() -> None:
    """BetterTLS too."""
    pems = {
        pem
        for case in limbo_cases()
        for pem in (case["peer_certificate"], *case["untrusted_intermediates"], *case["trusted_certs"])
    }
    read, _ = check(pem_blocks("".join(pems).encode(), b"CERTIFICATE"))
    assert read > 2_000


POINTS = [x509.DistributionPoint([x509.UniformResourceIdentifier("http://a.test/crl")], None, None, None)]
NAMES = [x509.DNSName("a.test"), x509.RFC822Name("a@b.test"), x509.DirectoryName(Authority.root().certificate.subject)]
ACCESS = [x509.AccessDescription(x509.AuthorityInformationAccessOID.CA_ISSUERS, NAMES[0])]
NOTICE = x509.UserNotice(x509.NoticeReference("a", [1]), "b")
KINDS: list[x509.ExtensionType] = [
    x509.BasicConstraints(ca=True, path_length=3),
    usage("digital_signature", "key_cert_sign"),
    x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.2"), x509.ObjectIdentifier("2.5.29.37.0")]),
    x509.SubjectKeyIdentifier(b"k" * 20),
    x509.AuthorityKeyIdentifier(b"k" * 20, NAMES, 5),
    san(*NAMES, x509.UniformResourceIdentifier("spiffe://a/b"), x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))),
    x509.IssuerAlternativeName(NAMES),
    x509.NameConstraints(NAMES, [x509.DNSName("b.test")]),
    x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), ["http://a", NOTICE])]),
    x509.PolicyConstraints(1, 2),
    x509.InhibitAnyPolicy(3),
    x509.CRLDistributionPoints(POINTS),
    x509.FreshestCRL(POINTS),
    x509.AuthorityInformationAccess(ACCESS),
    x509.SubjectInformationAccess(ACCESS),
    x509.TLSFeature([x509.TLSFeatureType.status_request]),
    x509.OCSPNoCheck(),
    x509.PrecertPoison(),
    x509.MSCertificateTemplate(x509.ObjectIdentifier("1.2.3"), 1, 2),
    x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.33"), bytes.fromhex("300a300806022a0306022a04")),
    x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2"), b"\4\2\0\0"),
    x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.9"), b"\x30\0"),
]


DECODED = [kind for kind in KINDS if kind.oid.dotted_string != "2.5.29.33"]
"""All but policy mappings, of which the library reads nothing."""


def content_of(oid: x509.ObjectIdentifier) -> bytes:
    """Of its DER."""
    return bytes(x509.ExtendedKeyUsage([oid]).public_bytes())[4:]


def mutated(drawn: random.Random, value: bytes) -> bytes:
    """Bytes changed, or elements."""
    if value and drawn.random() < 0.5:
        at = drawn.randrange(len(value))
        return (
            value[:at] + drawn.choice([b"", drawn.randbytes(1), drawn.randbytes(3)]) + value[at + drawn.randint(0, 2) :]
        )
    try:
        tree = forest(value)[0]
    except (ValueError, IndexError):
        return drawn.randbytes(4)
    change(drawn, tree)
    return tree.encoded()


def drawn_extensions(drawn: random.Random) -> Iterator[bytes]:
    """Certificates with one to three extensions of any kind the library knows, one of them mutated."""
    for _ in range(ROUNDS):
        kinds = drawn.sample(DECODED, drawn.randint(1, 3))
        values = [kind.public_bytes() for kind in kinds]
        values[0] = mutated(drawn, values[0]) if drawn.random() < 0.9 else values[0]
        yield certificate(
            *(
                extension(content_of(kind.oid), value, drawn.choice([b"", TRUE]))
                for kind, value in zip(kinds, values, strict=True)
            )
        )


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_drawn_extensions_are_read_alike() -> None:
    """Of every kind; what the library cannot read is refused, or has no say."""
    read, _ = check(drawn_extensions(random.Random("extensions")))
    assert read > ROUNDS // 10


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "kind", range(len(KINDS)), ids=[type(kind).__name__ + kind.oid.dotted_string for kind in KINDS]
)
def test_extension_of_any_bytes_is_read_or_refused(kind: int) -> None:
    """No other error; critical or not."""
    drawn, oid = random.Random(kind), content_of(KINDS[kind].oid)
    for _ in range(ROUNDS // 20):
        value = mutated(drawn, KINDS[kind].public_bytes())
        with suppress(Refused):
            Certificate.parse(certificate(extension(oid, value, drawn.choice([b"", TRUE])))).extensions  # noqa: B018


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mutant_of_a_tolerated_encoding_is_read_as_its_other_spelling_or_refused() -> None:
    """One more thing is odd: the bytes that are rewritten say the same to both."""
    drawn = random.Random("tolerated")
    for _ in range(ROUNDS):
        odd = mutated(drawn, drawn.choice(list(CERTIFICATES.values()))[1])
        try:
            certificate = Certificate.parse(odd)
            certificate.extensions, certificate.subject  # noqa: B018 - read on first use
        except Refused:
            continue
        said = library_oracle.read(rewritten(odd, tolerated.certificate))
        if said is not None:
            assert library_oracle.ours(odd, said) == said, odd.hex()


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mutant_of_a_tolerated_crl_is_read_or_refused() -> None:
    """And its other spelling says the same."""
    drawn = random.Random("crls")
    for _ in range(ROUNDS):
        odd = mutated(drawn, drawn.choice(list(CRLS.values()))[1])
        try:
            crl = Crl(odd)
        except Refused:
            continue
        plain = Crl(rewritten(odd, tolerated.crl))
        assert (crl.issuer, crl.number, crl.unusable) == (plain.issuer, plain.number, plain.unusable), odd.hex()
        assert [crl.index.find(5, crl.issuer), len(crl.index)] == [plain.index.find(5, plain.issuer), len(plain.index)]
