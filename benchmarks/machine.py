"""What else the machine did while something was measured."""

from __future__ import annotations

import os
from pathlib import Path


class Steal:
    """From now on: the share of CPU time that the host took from this machine, and what ran beside the benchmark."""

    def __init__(self) -> None:
        self._before = _times()

    def __str__(self) -> str:
        """One line for a report."""
        times = [after - before for before, after in zip(self._before, _times(), strict=True)]
        load, processors = os.getloadavg()[0], os.cpu_count()
        return f"steal {times[7] / max(1, sum(times)):.1%} of the time, load {load:.1f} on {processors} processors"


def _times() -> list[int]:
    """Ticks: user, nice, system, idle, iowait, irq, softirq, steal (proc(5))."""
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    return list(map(int, first.split()[1:9]))
