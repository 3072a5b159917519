"""Keeping CRLs, and finding whose they are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from support.certificates import NOW, Authority, name, new_key, usage

from authz.errors import Refused
from authz.pki.cache.issuer_chains import Assurance
from authz.pki.crl.crl import Crl
from authz.pki.revocation.crl_scope import Plan
from authz.pki.revocation.crl_store import CrlStore, current, may_sign_crls, signer_of
from authz.pki.x509.certificate import Certificate
from authz.pki.x509.distinguished_name import Name
from authz.pki.x509.distribution_points import points_of
from authz.reasons import Reason

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
    assert len(CrlStore([Crl(data), Crl(data)])) == 1


def test_store_with_one_more_leaves_the_first_as_it_was() -> None:
    """A store never changes; adding makes another."""
    mine, more = crl(), crl(number=2)
    store = CrlStore([mine], {mine.sha256: b"mine"})
    other = store.with_crl(more, b"more")
    assert (set(store), set(other), len(other)) == ({mine}, {mine, more}, 2)
    assert (found(other, spki=b"mine"), found(other, spki=b"more")) == ({mine}, {more})


def test_store_with_one_more_of_unknown_signer_finds_it_for_every_key() -> None:
    """Without a signer remembered, the CRL may be anybody's of that name."""
    more = crl()
    assert found(CrlStore().with_crl(more), spki=b"any") == {more}


def test_store_finds_all_crls_of_a_point_whoever_signed_them() -> None:
    """So that a check sees whether some other key's might speak."""
    crls = [crl(), crl(ONE), crl(TWO), crl(authority=TWIN)]
    shelf = CrlStore(crls, {crls[3].sha256: b"other"}).under(ISSUER)
    assert shelf is not None
    assert shelf.all([ONE]) == {crls[0], crls[1], crls[3]}


def test_flood_of_plans_leaves_another_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever points a tenant's CA writes into its leaves, its own plans go; in use or not, a neighbour's stay."""
    monkeypatch.setattr("authz.pki.revocation.crl_store.MAX_REMEMBERED", 100_000)
    store, plan = CrlStore(), Plan((), ())
    store.remember("quiet", (b"0",), plan)
    for number in range(1_000):
        store.remember("loud", (points_of((), Name(name(str(number)))),), plan)
    assert store.plans("quiet").get((b"0",)) is plan
    assert 10 < len(store.plans("loud")) < 100


def test_store_with_one_more_remembers_nothing() -> None:
    """Plans are of one store of CRLs, and of no other."""
    store = CrlStore([crl()])
    store.remember("o", (b"x",), Plan((), ()))
    assert len(store.with_crl(crl(number=2)).plans("o")) == 0


def test_flood_of_kinds_of_leaves_leaves_another_tenants_assurance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another store knows nothing of it, and a kind that was never met is not known."""
    monkeypatch.setattr("authz.pki.revocation.crl_store.MAX_REMEMBERED", 100_000)
    store, known = CrlStore([crl()]), Assurance((), (), NOW, NOW)
    kind = (object(), points_of((), ISSUER), False)
    assert store.assurance("quiet", kind) is None
    store.assure("quiet", kind, known)
    for number in range(1_000):
        store.assure("loud", (kind[0], points_of((), Name(name(str(number)))), False), known)
    assert store.assurance("quiet", kind) is known
    assert store.assurance("quiet", (kind[0], kind[1], True)) is None
    assert store.assurance("loud", (kind[0], points_of((), Name(name("0"))), False)) is None
    assert store.with_crl(crl(number=2)).assurance("quiet", kind) is None


def test_current_leaves_out_what_is_superseded() -> None:
    """Only the newest of an order remains."""
    crls = [Crl(CA.crl(number=n, this_update=NOW - timedelta(days=9 - n))) for n in (2, 3, 1)]
    assert current(crls) == [crls[1]]


def test_current_keeps_both_where_number_and_date_disagree() -> None:
    """Without an order, none is left out."""
    crls = [Crl(CA.crl(number=n, this_update=NOW - timedelta(days=n))) for n in (1, 2)]
    assert current(crls) == crls


@pytest.mark.parametrize(
    ("extensions", "without", "allowed"),
    [
        ([(usage("crl_sign"), True)], [], True),
        ([(usage("key_cert_sign"), True)], [], False),
        ([], [x509.KeyUsage], True),
    ],
)
def test_key_usage_decides_who_may_sign_crls(
    extensions: list[tuple[x509.ExtensionType, bool]], without: list[type[x509.ExtensionType]], allowed: bool
) -> None:
    """A key usage without cRLSign forbids it."""
    assert may_sign_crls(parsed(Authority.root(extensions=extensions, without=without))) is allowed


def test_signer_is_the_one_whose_key_verifies() -> None:
    """Among CAs of one name the key decides."""
    assert signer_of(crl(), [parsed(TWIN), parsed(CA)]) == parsed(CA)


def test_signer_is_found_whatever_the_key_identifiers_say() -> None:
    """An authority key identifier is a hint; the signature is the proof."""
    other = x509.AuthorityKeyIdentifier(b"other", None, None)
    assert signer_of(Crl(CA.crl(extensions=[(other, False)])), [parsed(CA)]) == parsed(CA)


def no_signer(data: bytes, *candidates: Certificate) -> Reason:
    """Why nobody among the candidates is the signer."""
    with pytest.raises(Refused) as refusal:
        signer_of(Crl(data), candidates)
    return refusal.value.reason


def test_signer_unknown_refuses() -> None:
    """A CRL that no known key signed is refused, and so is one when nobody is known."""
    assert no_signer(CA.crl(), parsed(TWIN)) == no_signer(CA.crl()) == Reason.REVOCATION_UNKNOWN


def test_signer_of_another_name_refuses() -> None:
    """The right key under another name is somebody else."""
    assert no_signer(CA.crl(issuer=name("Other")), parsed(CA)) is Reason.REVOCATION_UNKNOWN


def test_signer_that_may_not_sign_crls_refuses() -> None:
    """The right key without cRLSign in its key usage may not speak."""
    ca = Authority.root("CA", extensions=[(usage("key_cert_sign"), True)])
    assert no_signer(ca.crl(), parsed(ca)) is Reason.REVOCATION_UNKNOWN


def test_signer_with_a_key_policy_refuses_is_passed_over() -> None:
    """A candidate that cannot be used does not end the search."""
    weak = Authority.root("CA", key=new_key("rsa1024"))
    assert signer_of(crl(), [parsed(weak), parsed(CA)]) == parsed(CA)
