"""The service as `authz serve` is, running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Served, end


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Two workers, ready."""
    made = Served(tmp_path)
    made.start()
    yield made
    end(made)
