"""A directory for a test: made if it does not exist, and opened."""

from __future__ import annotations

from authz.directory import Store
from authz.directory.sqlite.migrate import migrate


def new_store(url: str) -> Store:
    """The directory at `url`, for writers; the caller closes it."""
    migrate(url)
    return Store(url)
