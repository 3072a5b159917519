"""The metrics of all processes together: counters and histograms summed, and the state of each process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from authz.errors import ConfigError

FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's variable for the folder in which processes write their values."""

_KIB: Final = 1024


def make_metrics_folder() -> Path:
    """Make a folder in which the processes write the values of their metrics. Raises `ConfigError`."""
    try:
        return Path(tempfile.mkdtemp(prefix="authz-"))
    except OSError as error:
        raise ConfigError(
            f"there is no temporary folder for the metrics: {error.strerror or error}",
            hint="let TMPDIR name a folder that may be written to; a few MB of tmpfs at /tmp are enough",
        ) from error


def write_metrics_as(slot: str, folder: Path) -> None:
    """Have this process's metrics written in `folder`; to be called before the first of them is made.

    No other process has `slot` at the same time. A later one continues its counters, so that there are no more files
    than slots.
    """
    os.environ[FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def remove_gauges(slot: str, folder: Path) -> None:
    """Remove the gauges of a process that died."""
    mark_process_dead(slot, str(folder))  # type: ignore[no-untyped-call]


def exposition(*collectors: Collector) -> bytes:
    """The metrics of all processes, and those of `collectors`, in Prometheus' text form."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, os.environ[FOLDER])  # type: ignore[no-untyped-call]
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


class ProcessMetrics(Collector):
    """The state of the processes, as the supervisor reported last, and their use of the system when collected."""

    def __init__(self) -> None:
        self._status: dict[str, Any] = {}

    def update(self, status: dict[str, Any]) -> None:
        """Take the supervisor's report.

        It has `restarts`, `answering`, `key_sets`, and `processes` by slot (`pid`, `ready`, `checks`).
        """
        self._status = status

    @property
    def key_sets(self) -> dict[str, float]:
        """The key sets that a worker cannot read, by `key_set_id`: how many seconds they are still usable."""
        return dict(self._status.get("key_sets", {}))

    @property
    def answering(self) -> bool:
        """Whether a worker is ready, and the service is not stopping."""
        return bool(self._status.get("answering"))

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        processes: dict[str, dict[str, Any]] = self._status.get("processes", {})
        resident = GaugeMetricFamily("authz_process_resident_bytes", "Memory in use.", labels=_OF_PROCESSES)
        own = GaugeMetricFamily("authz_process_own_bytes", "Memory that is its own.", labels=_OF_PROCESSES)
        descriptors = GaugeMetricFamily("authz_process_open_fds", "Open descriptors.", labels=_OF_PROCESSES)
        seconds = CounterMetricFamily("authz_process_cpu_seconds", "CPU used.", labels=_OF_PROCESSES)
        of_usage: tuple[GaugeMetricFamily | CounterMetricFamily, ...] = (resident, own, descriptors, seconds)
        ready = GaugeMetricFamily("authz_process_ready", "1 while the process is serving.", labels=_OF_PROCESSES)
        checks = CounterMetricFamily("authz_worker_checks", "Checks of the present worker.", labels=_OF_PROCESSES)
        for slot, process in processes.items():
            ready.add_metric((slot,), bool(process["ready"]))
            if "checks" in process:
                checks.add_metric((slot,), process["checks"])
            for family, value in zip(of_usage, usage(process["pid"]) or (), strict=False):
                family.add_metric((slot,), value)
        restarts = CounterMetricFamily("authz_process_restarts", "Processes that died, or hung.", labels=("kind",))
        for kind, count in self._status.get("restarts", {}).items():
            restarts.add_metric((kind,), count)
        yield from (resident, own, descriptors, seconds, ready, checks, restarts)


_OF_PROCESSES: Final = ("process",)


class Usage(NamedTuple):
    """What a process uses: resident bytes, those of them that are its own, open descriptors, seconds of CPU."""

    resident: float
    own: float
    descriptors: int
    seconds: float


def usage(process: int) -> Usage | None:
    """What a process uses now; None for one that has ended."""
    folder = Path("/proc") / str(process)
    try:
        lines = (folder / "status").read_text(encoding="utf-8").splitlines()
        descriptors = len(os.listdir(folder / "fd"))  # noqa: PTH208 - names are enough
        # The command's name stands in parentheses, and may hold any character.
        ticks = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    except OSError:
        return None
    if not any(line.startswith("VmRSS") for line in lines):
        return None  # it has ended, and waits to be reaped
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    resident, own = (float(fields[name].split()[0]) * _KIB for name in ("VmRSS", "RssAnon"))
    return Usage(resident, own, descriptors, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))
