"""The extensions of one certificate, read once into plain values (RFC 5280 section 4.2).

The parser is lazy and raises late; here every extension is read at once, and every error becomes `Refused`.
"""

from __future__ import annotations

from itertools import chain, compress, product
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from authz.errors import Refused
from authz.pki.x509 import der
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from authz.pki.x509.distribution_points import Points

PARSE_ERRORS: Final = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
)
"""Everything that the parser raises, early or late, for bytes that it rejects."""

ANY_POLICY: Final = "2.5.29.32.0"
POLICY_MAPPINGS: Final = "2.5.29.33"
NAME_CONSTRAINTS: Final = bytes.fromhex("551d1e")

MAX_ELEMENTS: Final = 1_040
"""Elements in the extensions of one certificate, each of which takes the library up to 0.7 us: in 300 real
certificates the most is 240, and 1,000 DNS names, which fit a header of 64 KB, have 1,003."""

# The lists in extensions, as the refusal of too many elements calls them.
_LISTS: Final = {
    bytes.fromhex(oid): what
    for oid, what in {
        "551d11": "subject alternative names",
        "551d12": "issuer alternative names",
        "551d1e": "subtrees of name constraints",
        "551d1f": "CRL distribution points",
        "551d20": "certificate policies and qualifiers",
        "551d21": "policy mappings",
        "551d23": "names in the authority key identifier",
        "551d25": "extended key usages",
        "551d2e": "distribution points of fresher CRLs",
        "2b06010505070101": "access descriptions of the authority",
        "2b0601050507010b": "access descriptions of the subject",
    }.items()
}


class Extensions:
    """The values of a certificate's extensions, with defaults for those that are absent.

    Object identifiers are dotted strings. `key_usage` names the bits set (`keyCertSign`, `cRLSign`,
    `digitalSignature`, …), `mapped` pairs an issuer's with a subject's policy, `shapes_policies`: a policy is
    required or mapped, `unknown_critical` lists critical extensions that are not processed.
    `recalled` extensions are from a cache: certificates of one issuer share them, and the `points` made of them;
    `like_tags` of their bytes could be the tag of a name (`authz.pki.cache.extensions`).
    """

    ca: bool = False
    path_length: int | None = None
    key_usage: frozenset[str] | None = None
    extended_key_usage: frozenset[str] | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    names: tuple[x509.GeneralName, ...] = ()
    issuer_names: tuple[x509.GeneralName, ...] = ()
    permitted: tuple[x509.GeneralName, ...] = ()
    excluded: tuple[x509.GeneralName, ...] = ()
    policies: frozenset[str] | None = None
    mapped: tuple[tuple[bytes, bytes], ...] = ()
    require_explicit_policy: int | None = None
    inhibit_policy_mapping: int | None = None
    inhibit_any_policy: int | None = None
    distribution_points: tuple[x509.DistributionPoint, ...] = ()
    freshest_crl: tuple[x509.DistributionPoint, ...] = ()
    unknown_critical: tuple[str, ...] = ()

    constrains_names: bool = False
    shapes_policies: bool = False

    recalled: bool = False
    like_tags: int = 0
    points: Points | None = None

    @property
    def mappings(self) -> tuple[tuple[str, str], ...]:
        """The policy mappings, in dotted form only where policies matter: a long one takes 6 us."""
        return tuple((der.oid(issuers), der.oid(other)) for issuers, other in self.mapped)


def counted(field: bytes) -> dict[bytes, int]:
    """The number of elements in each extension, at every depth, by its OID's content; ends above `MAX_ELEMENTS`.

    `field` is as for `der.extensions`. No objects are made of the elements.
    """
    counts: dict[bytes, int] = {}
    left = MAX_ELEMENTS
    for oid, _, start, end in der.extensions(field):
        inside = 3 + der.count(field, start, end, left)
        counts[oid] = counts.get(oid, 0) + inside
        left -= inside
        if left < 0:
            break
    return counts


def check_counts(counts: dict[bytes, int]) -> None:
    """Raises `Refused` (certificate_malformed), naming the largest extension, for more than `MAX_ELEMENTS` in all."""
    if sum(counts.values()) > MAX_ELEMENTS:
        largest = max(counts, key=counts.__getitem__)
        content = _LISTS.get(largest) or f"elements in {der.oid(largest)}"
        detail = f"extensions: too many {content}; {MAX_ELEMENTS} elements in all extensions are the limit"
        raise Refused(Reason.CERTIFICATE_MALFORMED, detail)


def read_extensions(parsed: x509.Certificate, field: bytes) -> Extensions:
    """Every extension of `parsed`, whose `field` passed `check_counts`.

    Raises `Refused` (certificate_malformed, name_constraint_unsupported), without naming the certificate.
    """
    extensions = Extensions()
    try:
        listed = parsed.extensions
        # 4.1.2.1: only version 3 has extensions; the library reads them in any.
        if listed and parsed.version is not x509.Version.v3:
            raise ValueError("in a certificate of version 1")
        for extension in listed:
            value = extension.value
            reader = _READERS.get(type(value))
            if reader is not None:
                reader(extensions, value)
            else:
                _read_other(extensions, extension)
        if extensions.constrains_names:
            _check_distances(field)
    except PARSE_ERRORS as error:
        raise Refused(Reason.CERTIFICATE_MALFORMED, f"extensions: {error}") from error
    return extensions


# RFC 5280 section 4.2.1.9
def _basic_constraints(extensions: Extensions, value: x509.BasicConstraints) -> None:
    extensions.ca, extensions.path_length = value.ca, value.path_length


_KEY_USAGE_BITS: Final = {
    "digital_signature": "digitalSignature",
    "content_commitment": "contentCommitment",
    "key_encipherment": "keyEncipherment",
    "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement",
    "key_cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
}
_bits = attrgetter(*_KEY_USAGE_BITS)
_KEY_USAGES: Final = {
    bits: frozenset(compress(_KEY_USAGE_BITS.values(), bits))
    for bits in product((False, True), repeat=len(_KEY_USAGE_BITS))
}


# RFC 5280 section 4.2.1.3
def _key_usage(extensions: Extensions, value: x509.KeyUsage) -> None:
    extensions.key_usage = _KEY_USAGES[_bits(value)]


# RFC 5280 section 4.2.1.12
def _extended_key_usage(extensions: Extensions, value: x509.ExtendedKeyUsage) -> None:
    extensions.extended_key_usage = frozenset([purpose.dotted_string for purpose in value])


# RFC 5280 section 4.2.1.2
def _subject_key_id(extensions: Extensions, value: x509.SubjectKeyIdentifier) -> None:
    extensions.subject_key_id = value.digest


# RFC 5280 section 4.2.1.1
def _authority_key_id(extensions: Extensions, value: x509.AuthorityKeyIdentifier) -> None:
    extensions.authority_key_id = value.key_identifier


# RFC 5280 section 4.2.1.6
def _subject_alternative_name(extensions: Extensions, value: x509.SubjectAlternativeName) -> None:
    extensions.names = tuple(value)


# RFC 5280 section 4.2.1.7
def _issuer_alternative_name(extensions: Extensions, value: x509.IssuerAlternativeName) -> None:
    extensions.issuer_names = tuple(value)


# RFC 5280 section 4.2.1.10
def _name_constraints(extensions: Extensions, value: x509.NameConstraints) -> None:
    extensions.permitted = tuple(value.permitted_subtrees or ())
    extensions.excluded = tuple(value.excluded_subtrees or ())
    extensions.constrains_names = True


def _check_distances(field: bytes) -> None:
    """4.2.1.10: minimum is zero and maximum absent, so a GeneralSubtree holds nothing but its base.

    The library ignores both. Raises `Refused` (name_constraint_unsupported) if one of them is present.
    """
    value = next(field[start:end] for oid, _, start, end in der.extensions(field) if oid == NAME_CONSTRAINTS)
    for _, start, end in der.elements(value, *der.only(value, der.SEQUENCE)):
        at = start
        while at < end:
            size = value[at + 1]
            if size < 0x80 and value[at + 3] == size - 2:  # nearly always: shorter than 128 bytes, its base alone
                at += 2 + size
                continue
            base, subtree_end = der.content(value, at), der.after(value, at)
            if der.after(value, base) != subtree_end:
                raise Refused(Reason.NAME_CONSTRAINT_UNSUPPORTED, "a subtree with a minimum or maximum")
            at = subtree_end


# RFC 5280 section 4.2.1.4: a policy identifier must not appear more than once.
def _policies(extensions: Extensions, value: x509.CertificatePolicies) -> None:
    policies = [policy.policy_identifier.dotted_string for policy in value]
    extensions.policies = frozenset(policies)
    if len(extensions.policies) != len(policies):
        raise ValueError("a certificate policy appears twice")


# RFC 5280 section 4.2.1.11
def _policy_constraints(extensions: Extensions, value: x509.PolicyConstraints) -> None:
    extensions.require_explicit_policy = value.require_explicit_policy
    extensions.inhibit_policy_mapping = value.inhibit_policy_mapping
    extensions.shapes_policies = extensions.shapes_policies or value.require_explicit_policy is not None


# RFC 5280 section 4.2.1.14
def _inhibit_any_policy(extensions: Extensions, value: x509.InhibitAnyPolicy) -> None:
    extensions.inhibit_any_policy = value.skip_certs


# RFC 5280 section 4.2.1.13
def _distribution_points(extensions: Extensions, value: x509.CRLDistributionPoints) -> None:
    extensions.distribution_points = tuple(value)


# RFC 5280 section 4.2.1.15
def _freshest_crl(extensions: Extensions, value: x509.FreshestCRL) -> None:
    extensions.freshest_crl = tuple(value)


# RFC 5280 section 4.2.1.5: SEQUENCE SIZE (1..MAX) OF SEQUENCE { issuerDomainPolicy, subjectDomainPolicy }
def _policy_mappings(extensions: Extensions, value: x509.UnrecognizedExtension) -> None:
    data = value.value
    pairs = []
    for tag, start, end in der.elements(data, *der.only(data, der.SEQUENCE)):
        left, a, b = der.element(data, start, end)
        right, c, d = der.element(data, b, end)
        if (tag, left, right, d) != (der.SEQUENCE, der.OID, der.OID, end):
            raise ValueError("policy mappings are not pairs of object identifiers")
        pairs.append((data[a:b], data[c:d]))
    if not pairs:
        raise ValueError("policy mappings are empty")
    if not all(map(der.is_oid, chain.from_iterable(pairs))):
        raise ValueError("policy mappings with a malformed object identifier")
    extensions.mapped = tuple(pairs)
    extensions.shapes_policies = True


_READERS: Final[dict[type[x509.ExtensionType], Callable[[Extensions, Any], None]]] = {
    x509.SubjectKeyIdentifier: _subject_key_id,
    x509.KeyUsage: _key_usage,
    x509.SubjectAlternativeName: _subject_alternative_name,
    x509.IssuerAlternativeName: _issuer_alternative_name,
    x509.BasicConstraints: _basic_constraints,
    x509.NameConstraints: _name_constraints,
    x509.CRLDistributionPoints: _distribution_points,
    x509.CertificatePolicies: _policies,
    x509.AuthorityKeyIdentifier: _authority_key_id,
    x509.PolicyConstraints: _policy_constraints,
    x509.ExtendedKeyUsage: _extended_key_usage,
    x509.FreshestCRL: _freshest_crl,
    x509.InhibitAnyPolicy: _inhibit_any_policy,
}

# Recognized, critical or not, and ignored by path validation.
_IGNORED: Final = frozenset({"2.5.29.9"})  # subject directory attributes, RFC 5280 section 4.2.1.8


def _read_other(extensions: Extensions, extension: x509.Extension[x509.ExtensionType]) -> None:
    """An extension that the library does not decode, or that is ignored."""
    oid = extension.oid.dotted_string
    if oid == POLICY_MAPPINGS and isinstance(extension.value, x509.UnrecognizedExtension):
        _policy_mappings(extensions, extension.value)
    elif extension.critical and oid not in _IGNORED:
        # RFC 5280 section 4.2: a certificate with an unrecognized critical extension is rejected.
        extensions.unknown_critical += (oid,)
