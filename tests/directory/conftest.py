"""A directory to write to, of each dialect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.directory import DIALECTS, new_store, url_of

from authz.directory import Store
from authz.model import Organization


@pytest.fixture(params=DIALECTS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """That of a new directory."""
    return url_of(request.param, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """A directory with one organization that has one user."""
    opened = new_store(url, fill)
    yield opened
    opened.close()


def fill(store: Store) -> None:
    """Add them."""
    store.add_organization(Organization(0, "acme", ("Acme.Example.Test.",)))
    store.add_user("acme", "alice")
