"""Which sources there are, and within which bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from support.certificates import Authority, Minted

from authz.crls.disk_store import FetchRecord
from authz.crls.fetch.url import MAX_URL
from authz.crls.sources import MAX_AUTHORITIES, MAX_URLS, POINTS_OF_ALL, CrlSource, CrlSources, urls_of
from authz.model import CrlSourceKind, CrlSourceState
from authz.pki import Certificate, Crl

ROOT = Authority.root("Root")
CA = ROOT.intermediate("CA")
URL = "http://crl.example.test/ca.crl"
HELD = Crl(CA.crl())


def path(*urls: str, delta: bool = False, ca: Authority = CA) -> list[Certificate]:
    """A path whose leaf names these URLs."""
    named = [x509.DistributionPoint([x509.UniformResourceIdentifier(one)], None, None, None) for one in urls]
    kind = x509.FreshestCRL if delta else x509.CRLDistributionPoints
    minted: tuple[Minted, ...] = (ca.leaf("alice", extensions=[(kind(named), False)] if urls else ()), ca, ROOT)
    return [Certificate.parse(one.der) for one in minted]


def sources(*urls: str, each: int = 3) -> tuple[CrlSources, list[str]]:
    """CrlSources, and its warnings."""
    warnings: list[str] = []
    return CrlSources(urls, each, warnings.append), warnings


def test_urls_of_a_path_are_those_that_can_be_asked() -> None:
    """Of complete CRLs and of deltas, none twice, nothing but http and https."""
    assert urls_of(path(URL, "ldap://x/", "HTTPS://b/", URL)) == [URL, "HTTPS://b/"]
    assert urls_of(path(URL, delta=True)) == [URL]
    assert urls_of(path()) == []
    assert len(urls_of(path(*(f"http://{n}/" for n in range(99))))) == MAX_URLS


def test_url_that_is_too_long_is_not_asked() -> None:
    """Nor does it stand in what operators look at, or on the disk."""
    longest = "http://x/" + "a" * (MAX_URL - 9)
    assert urls_of(path(longest, longest + "a")) == [longest]


@pytest.mark.parametrize("odd", ["\0", "\n", "\x1b", "\x7f"])
def test_url_with_a_control_character_is_not_asked(odd: str) -> None:
    """PostgreSQL keeps no NUL: one tenant's certificate would stop the report of everybody's sources."""
    assert urls_of(path(f"http://x/{odd}", URL)) == [URL]


def test_each_organization_has_some_points_however_many_others_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first organization does not take all."""
    monkeypatch.setattr("authz.crls.sources.MAX_POINTS", 9)
    made, _ = sources(each=64)
    for number in range(12):
        made.meet(1, path(f"http://evil.test/{number}"))
    assert len(list(made)) == 9
    for number in range(POINTS_OF_ALL + 1):
        made.meet(2, path(f"http://acme.test/{number}"))
    assert len(list(made)) == 9 + POINTS_OF_ALL


def test_point_is_news_until_it_was_tried() -> None:
    """And again while it is being tried, or when a path brings another CA."""
    made, _ = sources()
    [source] = made.meet(1, path(URL))
    assert made.meet(1, path(URL)) == [source]
    source.note(tried_at=datetime.now(UTC))
    assert made.meet(1, path(URL)) == []
    assert made.meet(1, path(URL, ca=ROOT.intermediate("CA"))) == [source]
    assert made.meet(2, path(URL)) == [source]


def test_state_is_the_same_until_something_of_the_source_changes() -> None:
    """Thousands are compared with what was reported last, twice a second."""
    source = CrlSource(URL, CrlSourceKind.POINT)
    before = source.state
    assert source.state is before
    now = datetime.now(UTC)
    source.succeeded("accepted", now, "the CRL")
    assert source.state == CrlSourceState(URL, CrlSourceKind.POINT, now, now, None, 0, "accepted", "the CRL")
    source.next_at = now
    assert source.state.next_at == now
    assert source.state is source.state


def test_cas_that_one_organization_brings_are_bounded() -> None:
    """Another's are its own."""
    source = CrlSource(URL, CrlSourceKind.POINT)
    assert source.meet(1, {bytes([n]): b"der" for n in range(MAX_AUTHORITIES)})
    assert not source.meet(1, {b"one more": b"der"})
    assert source.meet(2, {b"one more": b"der"})


def test_points_of_one_organization_are_bounded_and_it_is_reported_once() -> None:
    """Whichever organization named them first; what the operator named is no point."""
    made, warnings = sources("http://named/", each=1)
    news = made.meet(1, path("http://1/", "http://2/", "http://3/", "http://named/"))
    assert [one.location for one in news] == ["http://1/", "http://named/"]
    assert len(warnings) == 1
    assert len(made.meet(2, path("http://1/", "http://2/"))) == 1


@pytest.mark.parametrize("points", [True, False])
def test_copy_from_a_point_brings_its_source_back(points: bool) -> None:
    """With what to ask it next, if points are asked at all; a file is found again by itself."""
    made, _ = sources()
    moment = datetime.now(UTC)
    for _ in range(2):
        made.restore(FetchRecord(URL, '"v1"', None, moment), HELD, [1, 2], points=points)
    made.restore(FetchRecord("/etc/crls/a.crl", None, None, moment), HELD, [1], points=points)
    found = list(made)
    assert [set(one.organizations) for one in found] == [{1, 2}] * points
    assert made._points == ({1: 1, 2: 1} if points else {})
    assert [one.location for one in found] == [URL] * points
    assert all(
        one.state.accepted_at == moment and one.issuer == HELD.issuer and one.validators is not None for one in found
    )


def test_url_that_the_operator_names_no_more_is_no_source_after_a_restart() -> None:
    """Its copy goes on counting; a source that was taken out is not asked."""
    made, _ = sources()
    named = FetchRecord(URL, None, None, datetime.now(UTC), named=True)
    made.restore(named, HELD, [1], points=True)
    assert list(made) == []
    again, _ = sources(URL)
    again.restore(named, HELD, [1], points=True)
    assert [(one.kind, one.issuer) for one in again] == [(CrlSourceKind.URL, HELD.issuer)]
    assert not again._points


def test_point_that_an_organization_leaves_makes_room_for_another() -> None:
    """And that it has too many is reported again; what the operator named counts for no organization."""
    made, warnings = sources("http://named/", each=1)
    for _ in range(2):
        [first, _] = made.meet(1, path("http://1/", "http://2/", "http://named/"))
        assert first.location == "http://1/"
        for one in list(made):
            if one.authorities:
                made.leave(one, 1)
        assert made.meet(2, path("http://1/")) == [first]
    assert len(warnings) == 2
    assert made._points == {2: 1}


def test_file_is_one_source_until_it_is_removed() -> None:
    """By its path."""
    made, _ = sources()
    source = made.file(Path("/a.crl"))
    assert made.file(Path("/a.crl")) is source
    made.remove(source)
    assert made.get("/a.crl") is None
