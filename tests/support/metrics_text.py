"""What a process counts, as Prometheus reads it."""

from __future__ import annotations

from prometheus_client import generate_latest

from authz.telemetry import Telemetry


def metrics_of(telemetry: Telemetry) -> bytes:
    """The metrics in Prometheus' text form."""
    telemetry.count()
    return generate_latest(telemetry.registry)
