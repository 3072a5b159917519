"""What the demonstration starts."""

from __future__ import annotations

from authz.demo.processes import free_ports


def test_free_ports_are_others_each() -> None:
    """Picked one after the other, two may be the same."""
    assert len(set(free_ports(200))) == 200
