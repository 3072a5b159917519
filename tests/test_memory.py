"""Each memory filled with the worst that it takes: the process grows by no more than the number beside the bound."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOM = 12 * 1024 * 1024
"""What `memory_growth` lets be remembered."""

TOLERANCE = 1.05
"""What the allocator keeps between the pieces of memory that it gives out."""

KINDS = ["purposes", "names", "noise", "usual", "paths", "headers", "claims", "rows", "plans", "hosts", "signatures"]


@pytest.mark.skipif(sys.platform != "linux", reason="what a process takes is read from /proc")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_process_grows_by_no_more_than_what_is_remembered_weighs(kind: str) -> None:
    """Filled several times over, by seven tenants; attributes that are read late are read."""
    command = [sys.executable, str(HERE / "support" / "memory_growth.py"), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(HERE)})
    weight, growth, *entries = map(int, done.stdout.split())
    assert growth <= TOLERANCE * weight
    assert weight <= 17 * 1024 * 1024
    assert max(entries) > 100
    # Full, but for hosts, of which there are few, and what a CRL store remembers.
    assert kind in {"hosts", "plans"} or weight > 0.9 * ROOM
