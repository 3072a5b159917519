"""The extensions of one certificate, read once into plain values (RFC 5280 section 4.2).

The parser reads lazily and raises late; here every extension is read at once, and every error is a refusal.
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
"""Everything the parser raises, early or late, on bytes that it does not accept."""

ANY_POLICY: Final = "2.5.29.32.0"
POLICY_MAPPINGS: Final = "2.5.29.33"
NAME_CONSTRAINTS: Final = bytes.fromhex("551d1e")

MAX_ELEMENTS: Final = 500
"""Elements in the extensions of one certificate, of which each takes the library up to 0.7 us: the most in
300 real ones is 240, and one with 250 alternative names has 330."""

# What may be many, as it is called where it is too many.
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
    """What the extensions of a certificate say; what stands below holds where one is absent.

    Object identifiers are dotted strings. `key_usage` names the bits set (`keyCertSign`, `cRLSign`,
    `digitalSignature`, …), `mapped` pairs an issuer's with a subject's policy, `shapes_policies` says
    that a policy is demanded or mapped, `unknown_critical` lists critical extensions that are not processed.
    What is `recalled` is shared by certificates of one issuer, and so are the `points` made of what it says;
    `like_tags` of its bytes could be the tag of a name (`known_extensions.tags`).
    """

    ca: bool = False
    path_length: int | None = None
    key_usage: frozenset[str] | None = None
    extended_key_usage: frozenset[str] | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    names: tuple[x509.GeneralName, ...] = ()
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
        """The policy mappings, of which the dotted form is made only where policies matter: a long one takes 6 us."""
        return tuple((der.oid(one), der.oid(other)) for one, other in self.mapped)


def counted(field: bytes) -> dict[bytes, int]:
    """How many elements each extension holds, at every depth, by its OID's content; counting ends above `MAX_ELEMENTS`.

    `field` is what `der.extensions` takes. Nothing is made of what is counted.
    """
    found: dict[bytes, int] = {}
    left = MAX_ELEMENTS
    for oid, _, start, end in der.extensions(field):
        inside = 3 + der.count(field, start, end, left)
        found[oid] = found.get(oid, 0) + inside
        left -= inside
        if left < 0:
            break
    return found


def check_counts(found: dict[bytes, int]) -> None:
    """Raises `Refused` (certificate_malformed) for more than `MAX_ELEMENTS`, which names what there is most of."""
    if sum(found.values()) > MAX_ELEMENTS:
        most = max(found, key=found.__getitem__)
        what = _LISTS.get(most) or f"elements in {der.oid(most)}"
        detail = f"extensions: too many {what}; {MAX_ELEMENTS} elements in all extensions are the limit"
        raise Refused(Reason.CERTIFICATE_MALFORMED, detail)


def read_extensions(parsed: x509.Certificate, field: bytes) -> Extensions:
    """Every extension of `parsed`, whose `field` was counted.

    Raises `Refused` (certificate_malformed, name_constraint_unsupported), without the certificate named.
    """
    found = Extensions()
    try:
        extensions = parsed.extensions
        # 4.1.2.1: only version 3 has them; the library reads them in any.
        if extensions and parsed.version is not x509.Version.v3:
            raise ValueError("in a certificate of version 1")
        for extension in extensions:
            value = extension.value
            reader = _READERS.get(type(value))
            if reader is not None:
                reader(found, value)
            else:
                _read_other(found, extension)
        if found.constrains_names:
            _check_distances(field)
    except PARSE_ERRORS as error:
        raise Refused(Reason.CERTIFICATE_MALFORMED, f"extensions: {error}") from error
    return found


# RFC 5280 section 4.2.1.9
def _basic_constraints(found: Extensions, value: x509.BasicConstraints) -> None:
    found.ca, found.path_length = value.ca, value.path_length


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
def _key_usage(found: Extensions, value: x509.KeyUsage) -> None:
    found.key_usage = _KEY_USAGES[_bits(value)]


# RFC 5280 section 4.2.1.12
def _extended_key_usage(found: Extensions, value: x509.ExtendedKeyUsage) -> None:
    found.extended_key_usage = frozenset([one.dotted_string for one in value])


# RFC 5280 section 4.2.1.2
def _subject_key_id(found: Extensions, value: x509.SubjectKeyIdentifier) -> None:
    found.subject_key_id = value.digest


# RFC 5280 section 4.2.1.1
def _authority_key_id(found: Extensions, value: x509.AuthorityKeyIdentifier) -> None:
    found.authority_key_id = value.key_identifier


# RFC 5280 section 4.2.1.6
def _subject_alternative_name(found: Extensions, value: x509.SubjectAlternativeName) -> None:
    found.names = tuple(value)


# RFC 5280 section 4.2.1.10
def _name_constraints(found: Extensions, value: x509.NameConstraints) -> None:
    found.permitted = tuple(value.permitted_subtrees or ())
    found.excluded = tuple(value.excluded_subtrees or ())
    found.constrains_names = True


def _check_distances(field: bytes) -> None:
    """4.2.1.10: minimum is zero and maximum absent, so that a GeneralSubtree holds its base alone.

    The library reads past both. Raises `Refused` (name_constraint_unsupported) where one is stated.
    """
    value = next(field[start:end] for oid, _, start, end in der.extensions(field) if oid == NAME_CONSTRAINTS)
    for _, start, end in der.elements(value, *der.only(value, der.SEQUENCE)):
        at = start
        while at < end:
            size = value[at + 1]
            if size < 0x80 and value[at + 3] == size - 2:  # nearly every one: shorter than 128 octets, its base alone
                at += 2 + size
                continue
            base, subtree_end = der.content(value, at), der.after(value, at)
            if der.after(value, base) != subtree_end:
                raise Refused(Reason.NAME_CONSTRAINT_UNSUPPORTED, "a subtree with a minimum or maximum")
            at = subtree_end


# RFC 5280 section 4.2.1.4: a policy identifier must not appear more than once.
def _policies(found: Extensions, value: x509.CertificatePolicies) -> None:
    policies = [one.policy_identifier.dotted_string for one in value]
    found.policies = frozenset(policies)
    if len(found.policies) != len(policies):
        raise ValueError("a certificate policy appears twice")


# RFC 5280 section 4.2.1.11
def _policy_constraints(found: Extensions, value: x509.PolicyConstraints) -> None:
    found.require_explicit_policy = value.require_explicit_policy
    found.inhibit_policy_mapping = value.inhibit_policy_mapping
    found.shapes_policies = found.shapes_policies or value.require_explicit_policy is not None


# RFC 5280 section 4.2.1.14
def _inhibit_any_policy(found: Extensions, value: x509.InhibitAnyPolicy) -> None:
    found.inhibit_any_policy = value.skip_certs


# RFC 5280 section 4.2.1.13
def _distribution_points(found: Extensions, value: x509.CRLDistributionPoints) -> None:
    found.distribution_points = tuple(value)


# RFC 5280 section 4.2.1.15
def _freshest_crl(found: Extensions, value: x509.FreshestCRL) -> None:
    found.freshest_crl = tuple(value)


# RFC 5280 section 4.2.1.5: SEQUENCE SIZE (1..MAX) OF SEQUENCE { issuerDomainPolicy, subjectDomainPolicy }
def _policy_mappings(found: Extensions, value: x509.UnrecognizedExtension) -> None:
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
        raise ValueError("policy mappings of what is no object identifier")
    found.mapped = tuple(pairs)
    found.shapes_policies = True


_READERS: Final[dict[type[x509.ExtensionType], Callable[[Extensions, Any], None]]] = {
    x509.SubjectKeyIdentifier: _subject_key_id,
    x509.KeyUsage: _key_usage,
    x509.SubjectAlternativeName: _subject_alternative_name,
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

# Recognized, critical or not, and without a say in path validation.
_WITHOUT_A_SAY: Final = frozenset(
    {
        "2.5.29.9",  # subject directory attributes, RFC 5280 section 4.2.1.8
        "2.5.29.18",  # issuer alternative name, section 4.2.1.7
    }
)


def _read_other(found: Extensions, extension: x509.Extension[x509.ExtensionType]) -> None:
    """What the library leaves in octets, or what has no say."""
    oid = extension.oid.dotted_string
    if oid == POLICY_MAPPINGS and isinstance(extension.value, x509.UnrecognizedExtension):
        _policy_mappings(found, extension.value)
    elif extension.critical and oid not in _WITHOUT_A_SAY:
        # RFC 5280 section 4.2: a critical extension that is not recognized refuses.
        found.unknown_critical += (oid,)
