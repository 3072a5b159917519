"""The state of each process, as the supervisor reported it and as the system measures it."""

from __future__ import annotations

import os
import subprocess

import pytest

from authz.supervision.metrics import ProcessMetrics, usage


def test_processes_without_a_report_have_no_series_and_do_not_answer() -> None:
    """Before the supervisor's first report nothing is known, and the service is not ready."""
    metrics = ProcessMetrics()
    assert not metrics.answering
    assert metrics.key_sets == {}
    assert [sample for family in metrics.collect() for sample in family.samples] == []


def test_process_that_ended_is_listed_without_its_usage() -> None:
    """A process that the report names and that has ended since has its state, and no memory or descriptors."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    metrics = ProcessMetrics()
    processes = {
        "worker-0": {"pid": os.getpid(), "ready": True, "checks": 7},
        "worker-1": {"pid": ended.pid, "ready": False},
    }
    metrics.update({"processes": processes, "restarts": {"worker": 2}, "answering": True, "key_sets": {"k": 60}})
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in metrics.collect()
        for sample in family.samples
    }
    assert metrics.answering
    assert metrics.key_sets == {"k": 60}
    assert samples["authz_process_restarts_total", "worker"] == 2
    assert (samples["authz_process_ready", "worker-0"], samples["authz_process_ready", "worker-1"]) == (1, 0)
    assert samples["authz_worker_checks_total", "worker-0"] == 7
    assert samples["authz_process_resident_bytes", "worker-0"] >= samples["authz_process_own_bytes", "worker-0"] > 0
    assert samples["authz_process_open_fds", "worker-0"] > 0
    assert {name for name, *labels in samples if labels == ["worker-1"]} == {"authz_process_ready"}


@pytest.mark.parametrize("reaped", [True, False])
def test_process_that_ended_uses_nothing(reaped: bool) -> None:
    """An ended process has no usage, also while its parent has not reaped it."""
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    if reaped:
        process.wait()
    assert usage(process.pid) is None
    process.wait()
