"""What checks wait for at first sight, and which paths are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.x509 import UniformResourceIdentifier

from authz.crls import load_keys as first_fetch_wait
from authz.crls.load_keys import REPORT_AGAIN_SECONDS, PathKey, PointsKey, ReportedPaths


class Seconds:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """The seconds set."""
        return self.now


def decision(organization: int | None, leaf: bytes | None, *urls: str, ca: bytes = b"ca") -> Any:
    """A decision about somebody's certificate, as far as it is looked at; `urls` are its distribution points."""
    points = [SimpleNamespace(full_name=[UniformResourceIdentifier(one)]) for one in urls or ("http://x/",)]
    found = SimpleNamespace(sha256=leaf, extensions=SimpleNamespace(distribution_points=points, freshest_crl=()))
    issuer = SimpleNamespace(sha256=ca, extensions=SimpleNamespace(distribution_points=(), freshest_crl=()))
    path = None if leaf is None else SimpleNamespace(leaf=found, certificates=(found, issuer))
    whose = None if organization is None else SimpleNamespace(id=organization)
    return SimpleNamespace(evidence=SimpleNamespace(organization=whose, path=path))


def note(noted: ReportedPaths, organization: int, leaf: bytes, *urls: str) -> None:
    """Its path is known."""
    found = decision(organization, leaf, *urls).evidence
    noted.add(found.organization, found.path)


def test_keys_of_another_organization_wait_in_another_pool() -> None:
    """One tenant's slow points hold up no other; those of one tenant wait together, whatever for."""
    assert PathKey(1, ()).queue != PathKey(2, ()).queue
    assert PathKey(1, (b"a",)).queue == PointsKey(1, ("b",)).queue


def test_digest_tells_paths_and_organizations_apart() -> None:
    """An answer about one of them is no answer about another."""
    keys = [PathKey(1, (b"a",)), PathKey(2, (b"a",)), PathKey(1, (b"b",))]
    assert len({one.digest for one in keys}) == 3


def test_path_is_unknown_until_it_is_noted() -> None:
    """In its organization."""
    noted = ReportedPaths(Seconds())
    assert noted.unknown_in(decision(1, b"leaf")) is not None
    note(noted, 1, b"leaf")
    assert noted.unknown_in(decision(1, b"leaf")) is None
    assert noted.unknown_in(decision(2, b"leaf")) is not None
    noted.clear()
    assert noted.unknown_in(decision(1, b"leaf")) is not None


@pytest.mark.parametrize(("organization", "leaf"), [(None, b"leaf"), (1, None)])
def test_decision_without_a_path_has_nothing_to_note(organization: int | None, leaf: bytes | None) -> None:
    """No source is asked about it."""
    assert ReportedPaths(Seconds()).unknown_in(decision(organization, leaf)) is None


@pytest.mark.parametrize("url", ["http://x/", "ldap://x/"])
def test_one_leaf_is_reported_for_all_with_its_cas_and_points(url: str) -> None:
    """Another CA, other points and another organization are news, whatever was reported before."""
    noted = ReportedPaths(Seconds())
    note(noted, 1, b"leaf", url)
    assert noted.unknown_in(decision(1, b"another", url)) is None
    assert noted.unknown_in(decision(1, b"leaf 2", "http://y/")) is not None
    assert noted.unknown_in(decision(1, b"leaf 3", url, ca=b"another")) is not None
    assert noted.unknown_in(decision(2, b"another", url)) is not None
    assert len(noted._quick) == 2 * url.startswith("http")


def test_leaf_without_points_is_known_by_its_cas() -> None:
    """However many leaves they issue: one entry for all, and another CA, or another organization, is news."""
    noted = ReportedPaths(Seconds())
    silent = [decision(1, leaf) for leaf in (b"a", b"b", b"c")]
    for each in silent:
        each.evidence.path.leaf.extensions.distribution_points = ()
    noted.add(silent[0].evidence.organization, silent[0].evidence.path)
    assert [noted.unknown_in(each) for each in silent] == [None] * 3
    assert len(noted._quick) == 1
    assert noted.unknown_in(decision(1, b"a")) is not None
    for other in (decision(2, b"a"), decision(1, b"a", ca=b"another")):
        other.evidence.path.leaf.extensions.distribution_points = ()
        assert noted.unknown_in(other) is not None


def test_path_is_reported_again_every_hour() -> None:
    """That it is met no more is what its silence says."""
    seconds = Seconds()
    noted = ReportedPaths(seconds)
    note(noted, 1, b"leaf")
    seconds.now = REPORT_AGAIN_SECONDS - 1
    assert noted.unknown_in(decision(1, b"leaf")) is None
    seconds.now += 1
    assert noted.unknown_in(decision(1, b"leaf")) is not None


def test_noted_paths_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last that is noted is known in any case."""
    monkeypatch.setattr(first_fetch_wait, "MAX_REPORTED", 2)
    noted = ReportedPaths(Seconds())
    for leaf in (b"a", b"b", b"c"):
        note(noted, 1, leaf, f"http://{leaf.hex()}/")
    known = [leaf for leaf in (b"a", b"b", b"c") if not noted.unknown_in(decision(1, leaf, f"http://{leaf.hex()}/"))]
    assert known == [b"c"]
    for leaf in (b"d", b"e"):
        assert noted.unknown_in(decision(1, leaf, "http://63/")) is None
    assert len(noted._quick) <= 2
