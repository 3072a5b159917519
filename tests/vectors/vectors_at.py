"""Where the vectors made by others are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"


def vector_file(name: str) -> Path:
    """The path of a vector file; without it the module is skipped at home and fails in CI."""
    path = VECTORS / name
    if not path.exists():
        if os.environ.get("REQUIRE_VECTORS"):
            pytest.fail(f"REQUIRE_VECTORS is set, and ../shared/vectors/{name} is missing", pytrace=False)
        pytest.skip(f"../shared/vectors/{name} is missing", allow_module_level=True)
    return path
