"""A directory to write to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.directory import new_store

from authz.directory import Store
from authz.model import Organization


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A directory with one organization that has one user."""
    opened = new_store(f"sqlite:///{tmp_path / 'a.db'}")
    opened.add_organization(Organization(0, "acme", ("Acme.Example.Test.",)))
    opened.add_user("acme", "alice")
    yield opened
    opened.close()
