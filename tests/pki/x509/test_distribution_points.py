"""Distribution points, comparable."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from support.certificates import name

from authz.errors import Refused
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import (
    ALL_REASONS,
    MAX_CACHED,
    MAX_POINT_NAMES,
    Point,
    comparable,
    directory_names,
    points_of,
    reasons_of,
    scope_of,
)
from authz.reasons import Reason

CA, DELEGATE = Name(name("CA")), Name(name("Delegate"))
URI = x509.UniformResourceIdentifier("http://crl.example.test/1")
RELATIVE = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "shard 1")])
IMPLIED = Point(frozenset({CA}), (CA,), ALL_REASONS)


def below(issuer: str) -> Name:
    """The shard that hangs from `issuer`."""
    return Name(x509.Name([*name(issuer).rdns, RELATIVE]))


def stated(
    *,
    full: list[x509.GeneralName] | None = None,
    relative: x509.RelativeDistinguishedName | None = None,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    crl_issuer: list[x509.GeneralName] | None = None,
) -> x509.DistributionPoint:
    """A distribution point of a certificate."""
    return x509.DistributionPoint(full, relative, reasons, crl_issuer)


DIRECTORY = [x509.DirectoryName(name("Delegate"))]
KEY_COMPROMISE = frozenset({x509.ReasonFlags.key_compromise})


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (stated(full=[URI]), Point(frozenset({URI}), (CA,), ALL_REASONS)),
        (stated(full=[URI, *DIRECTORY]), Point(frozenset({URI, DELEGATE}), (CA,), ALL_REASONS)),
        (stated(full=[URI], reasons=KEY_COMPROMISE), Point(frozenset({URI}), (CA,), 0b10)),
        (stated(relative=RELATIVE), Point(frozenset({below("CA")}), (CA,), ALL_REASONS)),
        (stated(full=[URI], crl_issuer=DIRECTORY), Point(frozenset({URI}), (DELEGATE,), ALL_REASONS)),
        (
            stated(relative=RELATIVE, crl_issuer=DIRECTORY),
            Point(frozenset({below("Delegate")}), (DELEGATE,), ALL_REASONS),
        ),
        (stated(crl_issuer=DIRECTORY), Point(frozenset({DELEGATE}), (DELEGATE,), ALL_REASONS)),
        (stated(full=[URI], crl_issuer=[URI]), Point(frozenset({URI}), (), ALL_REASONS)),
    ],
)
def test_point_has_the_names_issuers_and_reasons_it_states(point: x509.DistributionPoint, expected: Point) -> None:
    """Each field counts, and what is left out falls back to the certificate's issuer."""
    assert points_of([point], CA) == (expected, IMPLIED)


def test_points_of_a_certificate_without_any_are_the_implied_one() -> None:
    """A certificate that names no point has its issuer's (RFC 5280 section 6.3.3)."""
    assert points_of((), CA) == (IMPLIED,)


def test_directory_names_are_compared_as_names() -> None:
    """A directory name matches however it is written."""
    spelled = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, " CA ")])
    assert comparable([x509.DirectoryName(spelled)], None, ()) == {CA}


def test_names_of_other_kinds_never_match() -> None:
    """The same text as a URI and as a DNS name are two names."""
    assert comparable([URI], None, ()).isdisjoint(comparable([x509.DNSName(URI.value)], None, ()))


def test_directory_names_leave_other_kinds_out() -> None:
    """Only directory names name a CRL issuer."""
    assert directory_names([URI, *DIRECTORY]) == (DELEGATE,)


def test_reasons_together_are_all() -> None:
    """The flags that a point can state add up to all reasons; the two that none can state add nothing."""
    assert reasons_of(x509.ReasonFlags) == reasons_of(None) == ALL_REASONS
    assert reasons_of([x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl]) == 0
    assert sum(reasons_of([one]) for one in x509.ReasonFlags) == ALL_REASONS


def test_points_are_a_key_by_what_they_hold() -> None:
    """Two certificates with the same points have one plan; the hash is computed once."""
    one, same, other = points_of((), CA), points_of((), CA), points_of((), DELEGATE)
    assert hash(one) == hash(same) == hash(one)
    assert {one: 1}[same] == 1
    assert one != other


def test_more_names_than_anybody_uses_are_too_much_work() -> None:
    """Each costs a look-up, wherever it stands."""
    half = [x509.UniformResourceIdentifier(f"http://a/{number}") for number in range(MAX_POINT_NAMES // 2)]
    most = [stated(full=half), stated(crl_issuer=half)]
    assert len(points_of(most, CA)) == 3
    with pytest.raises(Refused) as caught:
        points_of([*most, stated(full=[URI])], CA)
    assert caught.value.reason is Reason.BUDGET_EXCEEDED


def test_points_with_long_names_are_not_small() -> None:
    """Nothing is remembered about them, for a hostile CA can state what it likes."""
    long = x509.UniformResourceIdentifier("http://a/" + "x" * MAX_CACHED)
    assert points_of((), CA).small
    assert points_of([stated(full=[URI]), stated(full=DIRECTORY)], CA).small
    assert not points_of([stated(full=[long])], CA).small
    assert not points_of([stated(full=[URI]) for _ in range(100)], CA).small
    blank = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x" + " " * MAX_CACHED)]))
    assert not points_of([stated(full=[blank])], CA).small  # though it is compared as one letter


def test_uris_are_compared_in_one_spelling() -> None:
    """RFC 5280 section 7.4."""
    spelled = x509.UniformResourceIdentifier("HTTP://CRL.example.test:80/./%31")
    assert points_of([stated(full=[spelled])], CA) == points_of([stated(full=[URI])], CA)


def test_implied_point_has_the_issuers_alternative_names() -> None:
    """RFC 5280 section 6.3.3, last paragraph. What cannot be compared, or is beyond the bound, matches nothing."""
    names = frozenset({CA, URI, DELEGATE})
    odd = x509.DirectoryName(name("e" + "\u0301" * 31))
    assert points_of((), CA, [URI, odd, *DIRECTORY]) == (Point(names, (CA,), ALL_REASONS),)
    uris = [x509.UniformResourceIdentifier(f"http://crl.example.test/{number}") for number in range(MAX_POINT_NAMES)]
    assert len(points_of([stated(full=[URI])], CA, uris)[-1].names) == MAX_POINT_NAMES


@pytest.mark.parametrize("flags", [(True, False, None, False, False), (False, False, KEY_COMPROMISE, True, False)])
def test_scope_does_not_depend_on_how_a_uri_is_spelled(flags: tuple[bool, bool, None, bool, bool]) -> None:
    """An older CRL would answer for a newer one of another spelling; a scope in one spelling is its own DER."""
    spelled = x509.UniformResourceIdentifier("HTTP://crl.Example.test/%31")
    stated_point, other = (x509.IssuingDistributionPoint([uri, *DIRECTORY], None, *flags) for uri in (URI, spelled))
    assert scope_of(stated_point) == scope_of(other) == stated_point.public_bytes()
    relative = x509.IssuingDistributionPoint(None, RELATIVE, *flags)
    assert scope_of(relative) == relative.public_bytes()
