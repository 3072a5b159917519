"""A publisher and a subscriber, for the tests of both."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.crl_pair import Pair
from support.crl_world import World


@pytest.fixture
async def two(scene: World) -> AsyncIterator[Pair]:
    """A keeper and its subscriber, linked."""
    made = Pair(scene)
    await made.join()
    yield made
    await made.close()
