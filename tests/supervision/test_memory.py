"""What each process takes, as docs/operations.md adds it up for containers."""

from __future__ import annotations

from support.manifests import figures
from support.served import Served

from authz.supervision.metrics import usage


def test_processes_take_less_than_is_set_aside_for_them(served: Served) -> None:
    """Once they do their work: supervisor, CRL manager, and a worker that takes another's place."""
    assert served.process is not None
    assert served.check() == 403
    found = figures()
    pids = [served.process.pid, *served.children[:2]]
    for pid, what in zip(pids, ("supervisor", "CRL manager", "a worker that takes another's place"), strict=True):
        used = usage(pid)
        assert used is not None
        assert 0.3 * found[what] < used.own / (1 << 20) < found[what], what
