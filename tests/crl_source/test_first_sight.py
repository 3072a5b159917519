"""What checks wait for at first sight, and which paths are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.x509 import UniformResourceIdentifier

from authz.crl_source import first_sight
from authz.crl_source.first_sight import Noted, PathKey, PointsKey


def decision(organization: int | None, leaf: bytes | None, *urls: str) -> Any:
    """A decision about somebody's certificate, as far as it is looked at; `urls` are its distribution points."""
    points = [SimpleNamespace(full_name=[UniformResourceIdentifier(one)]) for one in urls or ("http://x/",)]
    found = SimpleNamespace(sha256=leaf, extensions=SimpleNamespace(distribution_points=points, freshest_crl=()))
    path = None if leaf is None else SimpleNamespace(leaf=found, certificates=(found, found))
    whose = None if organization is None else SimpleNamespace(id=organization)
    return SimpleNamespace(evidence=SimpleNamespace(organization=whose, path=path))


def note(noted: Noted, organization: int, leaf: bytes) -> None:
    """Its path is known."""
    found = decision(organization, leaf).evidence
    noted.add(found.organization, found.path)


def test_keys_of_another_organization_wait_in_another_pool() -> None:
    """One tenant's slow points hold up nobody else; those of one tenant wait together, whatever for."""
    assert PathKey(1, ()).pool != PathKey(2, ()).pool
    assert PathKey(1, (b"a",)).pool == PointsKey(1, ("b",)).pool


def test_digest_tells_paths_and_organizations_apart() -> None:
    """Whoever was answered for one of them was not for another."""
    keys = [PathKey(1, (b"a",)), PathKey(2, (b"a",)), PathKey(1, (b"b",))]
    assert len({one.digest for one in keys}) == 3


def test_path_is_unknown_until_it_is_noted() -> None:
    """In its organization."""
    noted = Noted()
    assert noted.unknown_in(decision(1, b"leaf")) is not None
    note(noted, 1, b"leaf")
    assert noted.unknown_in(decision(1, b"leaf")) is None
    assert noted.unknown_in(decision(2, b"leaf")) is not None
    noted.clear()
    assert noted.unknown_in(decision(1, b"leaf")) is not None


@pytest.mark.parametrize(("organization", "leaf"), [(None, b"leaf"), (1, None)])
def test_decision_without_a_path_has_nothing_to_note(organization: int | None, leaf: bytes | None) -> None:
    """Nobody is asked about it."""
    assert Noted().unknown_in(decision(organization, leaf)) is None


def test_path_without_a_point_that_can_be_asked_is_not_noted() -> None:
    """There may be any number of its kind, and nobody is to be told of them."""
    assert Noted().unknown_in(decision(1, b"leaf", "ldap://x/")) is None


def test_noted_paths_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last that is noted is known in any case."""
    monkeypatch.setattr(first_sight, "MAX_NOTED", 2)
    noted = Noted()
    for leaf in (b"a", b"b", b"c"):
        note(noted, 1, leaf)
    known = [leaf for leaf in (b"a", b"b", b"c") if noted.unknown_in(decision(1, leaf)) is None]
    assert known == [b"c"]
