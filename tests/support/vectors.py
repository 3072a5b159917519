"""Where the vectors that others made are found: PKITS in `cryptography_vectors`, x509-limbo and BetterTLS in a file."""

from __future__ import annotations

import json
import lzma
import os
from functools import cache
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest

PKITS_DATA = Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data"

BESIDE = Path(__file__).parents[3] / "shared" / "vectors" / "limbo.json.xz"


@cache
def limbo_cases() -> list[dict[str, Any]]:
    """The cases of the file that `LIMBO_JSON` names, else of the one beside the project.

    Without it the module is skipped; where it is named, or `REQUIRE_LIMBO` is set, it fails.
    """
    named = os.environ.get("LIMBO_JSON")
    path = Path(named) if named else BESIDE
    if not path.exists():
        if named or os.environ.get("REQUIRE_LIMBO"):
            pytest.fail(f"LIMBO_JSON or REQUIRE_LIMBO is set, and there is no {path.name}", pytrace=False)
        pytest.skip("there is no limbo.json.xz: LIMBO_JSON names it", allow_module_level=True)
    cases: list[dict[str, Any]] = json.loads(lzma.decompress(path.read_bytes()))["testcases"]
    return cases
