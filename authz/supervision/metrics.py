"""The metrics of all processes as one: counters and histograms summed, and how each process fares."""

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
"""The library's name for where the processes write their values."""

_KIB: Final = 1024


def folder_of_metrics() -> Path:
    """A folder in which the processes write the values of their metrics. Raises `ConfigError`."""
    try:
        return Path(tempfile.mkdtemp(prefix="authz-"))
    except OSError as error:
        raise ConfigError(
            f"there is no temporary folder for the metrics: {error.strerror or error}",
            hint="let TMPDIR name a folder that may be written to; a few MB of tmpfs at /tmp are enough",
        ) from error


def write_as(place: str, folder: Path) -> None:
    """Let this process's metrics be written in `folder`; before the first of them is made.

    `place` is nobody else's at the same time. Whoever has it later goes on with its counters, so that there
    are no more files than places.
    """
    os.environ[FOLDER] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]


def forget_gauges(place: str, folder: Path) -> None:
    """What a process that died said of itself is so no more."""
    mark_process_dead(place, str(folder))  # type: ignore[no-untyped-call]


def gathered(*collectors: Collector) -> bytes:
    """The metrics of all processes, and what `collectors` tell, in Prometheus' text form."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, os.environ[FOLDER])  # type: ignore[no-untyped-call]
    for one in collectors:
        registry.register(one)
    return generate_latest(registry)


class Processes(Collector):
    """How the processes fare, as the supervisor told last, and as the system tells when somebody looks."""

    def __init__(self) -> None:
        self._told: dict[str, Any] = {}

    def take(self, told: dict[str, Any]) -> None:
        """The supervisor told: `processes` by place (`pid`, `ready`, `checks`), `restarts` by kind, `answering`."""
        self._told = told

    @property
    def answering(self) -> bool:
        """Whether a worker is ready, and the service is not stopping."""
        return bool(self._told.get("answering"))

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        processes: dict[str, dict[str, Any]] = self._told.get("processes", {})
        resident = GaugeMetricFamily("authz_process_resident_bytes", "Memory in use.", labels=_OF_PROCESSES)
        own = GaugeMetricFamily("authz_process_own_bytes", "Memory that is its own.", labels=_OF_PROCESSES)
        descriptors = GaugeMetricFamily("authz_process_open_fds", "Open descriptors.", labels=_OF_PROCESSES)
        seconds = CounterMetricFamily("authz_process_cpu_seconds", "CPU used.", labels=_OF_PROCESSES)
        ready = GaugeMetricFamily("authz_process_ready", "1 while the process does its work.", labels=_OF_PROCESSES)
        for place, one in processes.items():
            ready.add_metric((place,), bool(one["ready"]))
            found = usage(one["pid"])
            if found is not None:
                resident.add_metric((place,), found.resident)
                own.add_metric((place,), found.own)
                descriptors.add_metric((place,), found.descriptors)
                seconds.add_metric((place,), found.seconds)
        checks = CounterMetricFamily("authz_worker_checks", "Checks of the worker that is there.", labels=_OF_PROCESSES)
        for place, one in processes.items():
            if "checks" in one:
                checks.add_metric((place,), one["checks"])
        restarts = CounterMetricFamily("authz_process_restarts", "Processes that died, or hung.", labels=("kind",))
        for kind, count in self._told.get("restarts", {}).items():
            restarts.add_metric((kind,), count)
        yield from (resident, own, descriptors, seconds, ready, checks, restarts)


_OF_PROCESSES: Final = ("process",)


class Usage(NamedTuple):
    """What a process uses: resident octets, those of them that are its own, open descriptors, seconds of CPU."""

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
        # The command's name stands in brackets, and may hold anything.
        ticks = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    except OSError:
        return None
    if not any(line.startswith("VmRSS") for line in lines):
        return None  # it has ended, and waits to be taken note of
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    resident, own = (float(told[name].split()[0]) * _KIB for name in ("VmRSS", "RssAnon"))
    return Usage(resident, own, descriptors, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))
