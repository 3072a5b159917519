"""What the tests of CRLs share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.crl_world import World, world


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[World]:
    """A service with nothing but distribution points."""
    async with world(tmp_path) as made:
        yield made
