"""Keeping CRLs, and finding whose they are."""

from __future__ import annotations

import pytest
from cryptography import x509
from support.certificates import Authority, name

from authz.pki.crl.crl import Crl
from authz.pki.revocation.crl_store import CrlStore, LazyCrlStore
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.distinguished_name import Name

CA, TWIN = Authority.root("CA"), Authority.root("CA")
ISSUER = Name(name("CA"))
ONE, TWO = (x509.UniformResourceIdentifier(f"http://crl.example.test/{number}") for number in (1, 2))


def parsed(authority: Authority) -> Certificate:
    """The authority's certificate."""
    return Certificate.parse(authority.der)


def crl(*points: x509.GeneralName, authority: Authority = CA, number: int = 1) -> Crl:
    """A CRL for those distribution points, for every one if none is named."""
    idp = x509.IssuingDistributionPoint(points, None, False, False, None, False, False) if points else None
    return Crl(authority.crl(number=number, extensions=[(idp, True)] if idp else []))


def found(store: CrlStore, *names: x509.GeneralName, spki: bytes = b"") -> set[Crl]:
    """What the store finds for a point of those names."""
    shelf = store.under(ISSUER)
    return set() if shelf is None else set(shelf.find(names, spki))


def test_store_finds_by_issuer_name() -> None:
    """A CRL is found under its issuer's name, and under no other."""
    mine = crl()
    store = CrlStore([mine])
    assert found(store) == {mine}
    assert store.under(Name(name("Other"))) is None


def test_store_finds_a_crl_without_names_at_every_point() -> None:
    """A CRL that names no distribution point is for all of them."""
    mine = crl()
    assert found(CrlStore([mine]), ONE) == {mine}


def test_store_finds_a_crl_with_names_at_these_points_only() -> None:
    """One that names its points is for those."""
    mine, other = crl(ONE), crl(TWO)
    assert found(CrlStore([mine, other]), ONE) == {mine}
    assert found(CrlStore([mine, other])) == set()


def test_store_finds_a_crl_of_two_points_once() -> None:
    """Two names in common make no two CRLs."""
    mine = crl(ONE, TWO)
    shelf = CrlStore([mine]).under(ISSUER)
    assert shelf is not None
    assert shelf.find([ONE, TWO], b"") == (mine,)


@pytest.mark.parametrize("points", [(), (ONE,)])
def test_store_passes_over_crls_of_another_key(points: tuple[x509.GeneralName, ...]) -> None:
    """Where the signer is remembered, CRLs of another CA of the same name are not looked at."""
    mine, other, unknown = crl(*points), crl(*points, authority=TWIN), crl(*points, number=7)
    store = CrlStore([mine, other, unknown], {mine.sha256: b"mine", other.sha256: b"other"})
    assert found(store, ONE, spki=b"mine") == {mine, unknown}


def test_store_holds_the_same_crl_once() -> None:
    """The same bytes given twice are one CRL."""
    data = CA.crl()
    store = CrlStore([Crl(data), Crl(data)])
    assert (len(store), [crl.der for crl in store]) == (1, [data])


def test_store_finds_all_crls_of_a_point_whichever_key_signed_them() -> None:
    """So that a check sees whether some other key's might speak."""
    crls = [crl(), crl(ONE), crl(TWO), crl(authority=TWIN)]
    shelf = CrlStore(crls, {crls[3].sha256: b"other"}).under(ISSUER)
    assert shelf is not None
    assert shelf.all([ONE]) == {crls[0], crls[1], crls[3]}


def test_crls_of_a_name_are_counted_and_found_by_key() -> None:
    """Whatever they are for; those without a known key may be of any."""
    mine, theirs, unknown = crl(ONE, TWO), crl(authority=TWIN), crl(number=3)
    keys = {mine.sha256: parsed(CA).spki_sha256, theirs.sha256: parsed(TWIN).spki_sha256}
    by_issuer = CrlStore([mine, theirs, unknown], keys).under(ISSUER)
    assert by_issuer is not None
    assert len(by_issuer) == 3
    assert set(by_issuer.signed_by([parsed(CA).spki_sha256])) == {mine, unknown}


def test_lazy_store_reads_the_crls_of_an_issuer_once_it_is_asked_for() -> None:
    """And those of no other; a name that has none is not read."""
    mine, other, at_once = crl(), crl(authority=Authority.root("Other")), crl(authority=Authority.root("At once"))
    asked: list[Name] = []

    def read(issuer: Name) -> list[Crl]:
        asked.append(issuer)
        return [one for one in (mine, other) if one.issuer == issuer]

    store = LazyCrlStore([mine.issuer, other.issuer], read, [at_once])
    assert set(store.issuers) == {mine.issuer, other.issuer, at_once.issuer}
    assert store.under(Name(name("None"))) is None
    assert asked == []
    assert found(store) == found(store) == {mine}
    assert asked == [ISSUER]
    assert set(store.under(at_once.issuer) or ()) == {at_once}


def test_lazy_store_has_every_crl() -> None:
    """For listing and for counting."""
    mine, other = crl(), crl(authority=Authority.root("Other"))
    for read in (len, lambda store: len(list(store))):
        store = LazyCrlStore(
            [mine.issuer, other.issuer], lambda issuer: {mine.issuer: [mine], other.issuer: [other]}[issuer]
        )
        assert read(store) == 2
    assert set(store) == {mine, other}
    assert set(store.issuers) == {mine.issuer, other.issuer} == set(CrlStore([mine, other]).issuers)
