"""The extensions of one certificate, read once into plain values (RFC 5280 section 4.2).

Of each extension only what a rule asks for is read; one that no rule asks for stays unread, whatever is in it. If it is
critical and not known, the certificate is refused (section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

from authz.errors import Refused
from authz.pki.x509 import der, library, tolerated
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from authz.pki.x509.distribution_points import Points

ANY_POLICY: Final = "2.5.29.32.0"

# By the content of their OIDs, all below 2.5.29.
SUBJECT_KEY_ID: Final = bytes.fromhex("551d0e")
KEY_USAGE: Final = bytes.fromhex("551d0f")
ALTERNATIVE_NAMES: Final = library.SUBJECT_ALTERNATIVE_NAME
ISSUER_ALTERNATIVE_NAMES: Final = bytes.fromhex("551d12")
BASIC_CONSTRAINTS: Final = bytes.fromhex("551d13")
NAME_CONSTRAINTS: Final = bytes.fromhex("551d1e")
DISTRIBUTION_POINTS: Final = bytes.fromhex("551d1f")
POLICIES: Final = bytes.fromhex("551d20")
POLICY_MAPPINGS: Final = bytes.fromhex("551d21")
AUTHORITY_KEY_ID: Final = bytes.fromhex("551d23")
POLICY_CONSTRAINTS: Final = bytes.fromhex("551d24")
EXTENDED_KEY_USAGE: Final = bytes.fromhex("551d25")
FRESHEST_CRL: Final = bytes.fromhex("551d2e")
INHIBIT_ANY_POLICY: Final = bytes.fromhex("551d36")
NO_REV_AVAIL: Final = bytes.fromhex("551d38")
"""RFC 9608: the CA publishes nothing about the certificate's revocation. No rule asks for it, only a report."""

MAX_PATH_LENGTH: Final = 2**64 - 1
"""What the library reads."""

MAX_ELEMENTS: Final = 1_040
"""Elements in the extensions of one certificate, each of which takes the library up to 0.7 us: in 300 real
certificates the most is 240, and 1,000 DNS names, which fit a header of 64 KB, have 1,003."""

# The lists that are read, as the refusal of too many elements calls them.
_LISTS: Final = {
    ALTERNATIVE_NAMES: "subject alternative names",
    ISSUER_ALTERNATIVE_NAMES: "issuer alternative names",
    NAME_CONSTRAINTS: "subtrees of name constraints",
    DISTRIBUTION_POINTS: "CRL distribution points",
    POLICIES: "certificate policies and qualifiers",
    POLICY_MAPPINGS: "policy mappings",
    AUTHORITY_KEY_ID: "names in the authority key identifier",
    EXTENDED_KEY_USAGE: "extended key usages",
    FRESHEST_CRL: "distribution points of fresher CRLs",
}


class Extensions:
    """The values of a certificate's extensions, with defaults for those that are absent.

    Object identifiers are dotted strings. `key_usage` names the bits set (`keyCertSign`, `cRLSign`,
    `digitalSignature`, …), `mapped` pairs an issuer's with a subject's policy, `shapes_policies`: a policy is
    required or mapped, `unknown_critical` lists critical extensions that are not processed. `unread_kinds` are those of
    alternative names that could not be read, none of which is in `names`.
    `recalled` extensions are from a cache: certificates of one issuer share them, and the `points` made of them;
    `like_tags` of their bytes could be the tag of a name (`authz.pki.cache.extensions`), and `weight` is theirs.
    """

    ca: bool = False
    path_length: int | None = None
    key_usage: frozenset[str] | None = None
    extended_key_usage: frozenset[str] | None = None
    subject_key_id: bytes | None = None
    authority_key_id: bytes | None = None
    names: tuple[x509.GeneralName, ...] = ()
    issuer_names: tuple[x509.GeneralName, ...] = ()
    unread_kinds: frozenset[type[x509.GeneralName]] = frozenset()
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
    weight: int = 0
    points: Points | None = None

    @property
    def mappings(self) -> tuple[tuple[str, str], ...]:
        """The policy mappings, in dotted form only where policies matter: a long one takes 6 us."""
        return tuple((der.oid(issuers), der.oid(other)) for issuers, other in self.mapped)


_Reader = Callable[[Extensions, Any], None]


def counted(field: bytes) -> dict[bytes, int]:
    """The number of elements in each extension, at every depth, by its OID's content; ends above `MAX_ELEMENTS`.

    `field` is as for `der.extensions`. No objects are made of the elements. In those that are not read none count.
    """
    counts: dict[bytes, int] = {}
    left = MAX_ELEMENTS
    for oid, _, start, end in der.extensions(field):
        inside = 3 + (der.count(field, start, end, left) if oid in _READERS else 0)
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


def read_extensions(field: bytes, *, v3: bool) -> Extensions:
    """Every extension in `field`, which passed `check_counts`, of a certificate of version 3 or not.

    Raises `Refused` (certificate_malformed, name_constraint_unsupported).
    """
    extensions = Extensions()
    values: dict[bytes, Any] = {}
    try:
        critical = _state(field, extensions, values, v3=v3)
        _parse(values, critical, extensions)
        for oid, value in values.items():
            try:
                _READERS[oid](extensions, value)
            except ValueError:
                # A hint that cannot be read counts as absent; 4.2 refuses a critical one.
                if oid in critical or oid not in _HINTS:
                    raise
    except ValueError as error:
        raise Refused(Reason.CERTIFICATE_MALFORMED, f"extensions: {error}") from error
    return extensions


def _state(field: bytes, extensions: Extensions, values: dict[bytes, Any], *, v3: bool) -> set[bytes]:
    """Put the value of each extension that is read into `values`, in DER; which of them are critical.

    Notes the critical ones that are not known. Raises `ValueError`.
    """
    seen, stated_critical = set(), set()
    for oid, critical, start, end in der.extensions(field):
        if oid in seen:
            raise ValueError(f"{der.oid(oid)} appears twice")
        seen.add(oid)
        if critical:
            stated_critical.add(oid)
        if oid in _READERS:
            values[oid] = field[start:end]
        elif critical and oid not in _IGNORED:
            # 4.2: a certificate with an unrecognized critical extension is rejected.
            extensions.unknown_critical += (der.oid(oid),)
    # 4.1.2.1: only version 3 has extensions; the library reads them in any.
    if seen and not v3:
        raise ValueError("in a certificate of version 1")
    return stated_critical


def _parse(values: dict[bytes, Any], critical: set[bytes], extensions: Extensions) -> None:
    """Put the library's objects in the place of DER where it is asked: of all at once, as nearly always none is odd."""
    if NAME_CONSTRAINTS in values:
        values[NAME_CONSTRAINTS] = _without_distances(values[NAME_CONSTRAINTS])
    if POLICIES in values:
        values[POLICIES] = _without_qualifiers(extensions, values[POLICIES], critical=POLICIES in critical)
    asked = {oid: value for oid, value in values.items() if oid in _BY_LIBRARY}
    if not asked:
        return
    try:
        values.update(zip(asked, library.read_extensions(asked.items()), strict=True))
    except library.ParserError:
        plain = {
            oid: tolerated.subtrees(value) if oid == NAME_CONSTRAINTS else tolerated.value(value)
            for oid, value in asked.items()
        }
        if plain == asked and _HINTS.isdisjoint(asked):
            raise
        for oid, value in plain.items():
            values[oid] = _read_alone(oid, value, extensions, critical=oid in critical)


def _read_alone(oid: bytes, value: bytes, extensions: Extensions, *, critical: bool) -> Any:
    """The library's object of one extension; none of a hint that cannot be read. Raises `ValueError`."""
    try:
        return library.read_extensions([(oid, value)])[0]
    except ValueError:
        if critical or oid not in _HINTS:
            raise
        if oid == ALTERNATIVE_NAMES:
            extensions.unread_kinds = _kinds_in(value)
    return ()


# RFC 5280 section 4.2.1.6, by tag; the address of an otherName is an e-mail address (RFC 9598 section 3).
_KINDS: Final[Mapping[int, frozenset[type[x509.GeneralName]]]] = {
    0xA0: frozenset({x509.OtherName, x509.RFC822Name}),
    0x81: frozenset({x509.RFC822Name}),
    0x82: frozenset({x509.DNSName}),
    0xA4: frozenset({x509.DirectoryName}),
    0x86: frozenset({x509.UniformResourceIdentifier}),
    0x87: frozenset({x509.IPAddress}),
    0x88: frozenset({x509.RegisteredID}),
}
_EVERY_KIND: Final = frozenset(chain.from_iterable(_KINDS.values()))


def _kinds_in(value: bytes) -> frozenset[type[x509.GeneralName]]:
    """The kinds of names that an extension may hold: every kind where they cannot be distinguished."""
    try:
        tags = {tag for tag, _, _ in der.elements(value, *der.only(value, der.SEQUENCE))}
    except ValueError:
        return _EVERY_KIND
    return frozenset().union(*(_KINDS.get(tag, _EVERY_KIND) for tag in tags))


# RFC 5280 section 4.2.1.9: SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL }
def _basic_constraints(extensions: Extensions, value: bytes) -> None:
    parts = list(der.elements(value, *der.only(value, der.SEQUENCE)))
    if parts and parts[0][0] == der.BOOLEAN:
        _, start, end = parts.pop(0)
        extensions.ca = tolerated.boolean(value[start:end])
    if [tag for tag, _, _ in parts] not in ([], [der.INTEGER]):
        raise ValueError("basic constraints that are not cA and a path length")
    # Without cA a path length says nothing, and is not read.
    if parts and extensions.ca:
        extensions.path_length = der.integer(value[slice(*parts[0][1:])])
        if not 0 <= extensions.path_length <= MAX_PATH_LENGTH:
            raise ValueError("a path length that is negative or too large")


_KEY_USAGE_BITS: Final = (
    "digitalSignature", "contentCommitment", "keyEncipherment", "dataEncipherment", "keyAgreement", "keyCertSign",
    "cRLSign",
)  # fmt: skip
_KEY_USAGES: Final = [
    frozenset(name for bit, name in enumerate(_KEY_USAGE_BITS) if first & 0x80 >> bit) for first in range(256)
]
"""By the first byte of the string of bits."""


# RFC 5280 section 4.2.1.3: a BIT STRING; its last two bits say something about a key that agrees on others.
def _key_usage(extensions: Extensions, value: bytes) -> None:
    start, end = der.only(value, der.BIT_STRING)
    unused = value[start] if start < end else 8
    bits = int.from_bytes(value[start + 1 : end], "big")
    # X.690 section 11.2.1: unused bits are zero.
    if unused > 7 or bits & ((1 << unused) - 1) or (unused and end == start + 1):
        raise ValueError("a key usage that is not a string of bits")
    extensions.key_usage = _KEY_USAGES[value[start + 1] if end > start + 1 else 0]


# RFC 5280 section 4.2.1.12
def _extended_key_usage(extensions: Extensions, value: x509.ExtendedKeyUsage) -> None:
    extensions.extended_key_usage = frozenset([purpose.dotted_string for purpose in value])


# RFC 5280 section 4.2.1.2
def _subject_key_id(extensions: Extensions, value: bytes) -> None:
    extensions.subject_key_id = _hint(value, der.OCTET_STRING)


_KEY_ID: Final = 0x80


# RFC 5280 section 4.2.1.1: SEQUENCE { keyIdentifier [0], authorityCertIssuer [1], authorityCertSerialNumber [2] }
def _authority_key_id(extensions: Extensions, value: bytes) -> None:
    extensions.authority_key_id = _hint(value, der.SEQUENCE, _KEY_ID)


def _hint(value: bytes, tag: int, inside: int | None = None) -> bytes | None:
    """The content of the element of `tag`, or that of the one of `inside` in it. Raises `ValueError`."""
    start, end = der.only(value, tag)
    if inside is None:
        return value[start:end]
    contents = [value[first:last] for kind, first, last in der.elements(value, start, end) if kind == inside]
    return contents[0] if len(contents) == 1 else None


def _listed(attribute: str) -> _Reader:
    """What puts the elements of a list into that attribute."""

    def read(extensions: Extensions, value: Iterable[Any]) -> None:
        setattr(extensions, attribute, tuple(value))

    return read


# RFC 5280 section 4.2.1.10
def _name_constraints(extensions: Extensions, value: x509.NameConstraints) -> None:
    extensions.permitted = tuple(value.permitted_subtrees or ())
    extensions.excluded = tuple(value.excluded_subtrees or ())
    extensions.constrains_names = True


_MINIMUM_ZERO: Final = bytes.fromhex("800100")


def _without_distances(value: bytes) -> bytes:
    """The value with subtrees of nothing but their base; 4.2.1.10: minimum is zero, its default, and maximum absent.

    The library ignores both. Raises `Refused` (name_constraint_unsupported) for any other.
    """
    written_out = False
    for _, start, end in der.elements(value, *der.only(value, der.SEQUENCE)):
        for _, base, subtree_end in der.elements(value, start, end):
            if base < subtree_end and (stop := der.element(value, base, subtree_end)[2]) != subtree_end:
                if value[stop:subtree_end] != _MINIMUM_ZERO:
                    raise Refused(Reason.NAME_CONSTRAINT_UNSUPPORTED, "a subtree with a minimum or maximum")
                written_out = True
    return _bases(value) if written_out else value


def _bases(value: bytes) -> bytes:
    """Name constraints that may have the minimum of zero, without it."""
    fields = []
    for field, start, end in der.elements(value, *der.only(value, der.SEQUENCE)):
        subtrees = [
            der.tlv(tag, value[base : der.element(value, base, subtree_end)[2]] if base < subtree_end else b"")
            for tag, base, subtree_end in der.elements(value, start, end)
        ]
        fields.append(der.tlv(field, *subtrees))
    return der.tlv(der.SEQUENCE, *fields)


_QUALIFIERS: Final = frozenset(map(bytes.fromhex, ("2b06010505070201", "2b06010505070202")))  # CPS, user notice


# RFC 5280 section 4.2.1.4: SEQUENCE OF SEQUENCE { policyIdentifier, policyQualifiers SEQUENCE OPTIONAL }
def _without_qualifiers(extensions: Extensions, value: bytes, *, critical: bool) -> bytes:
    """The value with identifiers alone; where it is critical every qualifier must be of a kind that is known."""
    policies = []
    for tag, start, end in der.elements(value, *der.only(value, der.SEQUENCE)):
        kind, first, last = der.element(value, start, end)
        if (tag, kind) != (der.SEQUENCE, der.OID):
            raise ValueError("a certificate policy without an identifier")
        policies.append(der.tlv(der.SEQUENCE, der.tlv(der.OID, value[first:last])))
        if critical and last < end and not _known_qualifiers(value, last, end):
            extensions.unknown_critical += ("2.5.29.32 with another qualifier",)
    return der.tlv(der.SEQUENCE, *policies)


def _known_qualifiers(value: bytes, at: int, end: int) -> bool:
    for _, start, stop in der.elements(value, *der.only(value, der.SEQUENCE, at, end)):
        _, first, last = der.element(value, start, stop)
        if value[first:last] not in _QUALIFIERS:
            return False
    return True


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


# RFC 5280 section 4.2.1.5: SEQUENCE SIZE (1..MAX) OF SEQUENCE { issuerDomainPolicy, subjectDomainPolicy }
def _policy_mappings(extensions: Extensions, data: bytes) -> None:
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


_BY_LIBRARY: Final[dict[bytes, _Reader]] = {
    ALTERNATIVE_NAMES: _listed("names"),  # section 4.2.1.6
    ISSUER_ALTERNATIVE_NAMES: _listed("issuer_names"),  # section 4.2.1.7
    NAME_CONSTRAINTS: _name_constraints,
    DISTRIBUTION_POINTS: _listed("distribution_points"),  # section 4.2.1.13
    POLICIES: _policies,
    POLICY_CONSTRAINTS: _policy_constraints,
    EXTENDED_KEY_USAGE: _extended_key_usage,
    FRESHEST_CRL: _listed("freshest_crl"),  # section 4.2.1.15
    INHIBIT_ANY_POLICY: _inhibit_any_policy,
}
_READERS: Final[dict[bytes, _Reader]] = _BY_LIBRARY | {
    SUBJECT_KEY_ID: _subject_key_id,
    KEY_USAGE: _key_usage,
    BASIC_CONSTRAINTS: _basic_constraints,
    POLICY_MAPPINGS: _policy_mappings,
    AUTHORITY_KEY_ID: _authority_key_id,
}

_HINTS: Final = frozenset({SUBJECT_KEY_ID, AUTHORITY_KEY_ID, ALTERNATIVE_NAMES, ISSUER_ALTERNATIVE_NAMES, FRESHEST_CRL})
"""What may stay unread where it is not critical: it orders candidates, or few paths have a rule that asks for it."""

# Known, critical or not, and without a say in path validation.
_IGNORED: Final = frozenset({bytes.fromhex("551d09")})  # subject directory attributes, RFC 5280 section 4.2.1.8
