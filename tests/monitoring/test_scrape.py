"""What a real service gives Prometheus, and to whom."""

from __future__ import annotations

import signal
import subprocess
from http.client import HTTPException
from pathlib import Path

import pytest
from support.monitored import TRACEPARENT, Monitored, Series
from support.served import end

DAY = 86_400.0


def value(series: list[Series], name: str, **labels: str) -> float:
    """The value of the one series that has these labels."""
    (found,) = (one for one in series if one.name == name and labels.items() <= one.labels.items())
    return found.value


def test_what_ends_first_is_measured_by_kind_and_organization(series: list[Series]) -> None:
    """Of a directory, CRLs, a key set that cannot be read, and the service's own TLS."""
    for kind in ("registration", "anchor", "intermediate"):
        assert 19 * DAY < value(series, "authz_expiry_seconds", kind=kind, organization="acme") < 20 * DAY
    assert 0.4 * DAY < value(series, "authz_expiry_seconds", kind="crl", organization="acme") < 0.5 * DAY
    assert value(series, "authz_expiry_seconds", kind="key_set", organization="acme") == 0
    assert 29 * DAY < value(series, "authz_expiry_seconds", kind="own_tls", organization="") < 30 * DAY


def test_scrape_is_well_formed(monitored: Monitored, promtool: str) -> None:
    """By Prometheus' own parser, and by its rules for names and units."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=monitored.scrape(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_user_whom_required_would_refuse_is_counted(series: list[Series]) -> None:
    """By organization, from the history; and the refusal by its reason."""
    assert value(series, "authz_observed_users", organization="acme") == 1
    assert value(series, "authz_observed_refusals_total", reason="certificate_required") == 1


def test_client_that_may_not_read_is_counted(series: list[Series]) -> None:
    """At the operators' listener, like a proxy at its own."""
    assert value(series, "authz_proxies_refused_total", listener="ops") >= 1


@pytest.mark.parametrize("name", [None, "stranger"])
def test_metrics_are_read_by_named_clients_alone(monitored: Monitored, name: str | None) -> None:
    """Neither without a certificate, nor with the service's own, which the same CA issued."""
    if name is not None:
        for suffix in ("pem", "key"):
            (monitored.folder / f"{name}.{suffix}").write_text((monitored.folder / f"server.{suffix}").read_text())
    with pytest.raises(OSError):  # noqa: PT011 - TLS 1.3 reports it as a reset, or as an alert
        monitored.scrape(name)
    assert "authz_expiry_seconds" in monitored.scrape()


def test_probes_are_answered_without_a_certificate_and_read_no_metrics(monitored: Monitored) -> None:
    """At a listener of their own, as a kubelet's exec probe asks."""
    assert monitored.probe("/healthz") == (200, "ok\n")
    assert monitored.probe("/readyz") == (200, "ready\n")
    assert monitored.probe("/metrics")[0] == 404


def test_reload_puts_tls_in_front_of_the_pages(tmp_path: Path) -> None:
    """Of a service that runs: once the settings are taken, the port is no longer read in plain text."""
    service = Monitored(tmp_path)
    guarded = service.config.read_text()
    plain, _, _ = guarded.partition("[ops.tls]")
    service.config.write_text(plain)
    try:
        service.start()
        assert service.get("/healthz") == (200, "ok\n")
        service.config.write_text(guarded)
        service.tell(signal.SIGHUP)
        service.until(lambda: "reloaded" in service.events)
        assert "authz_directory_confirmed" in service.scrape()
        with pytest.raises((OSError, HTTPException)):
            service.get("/healthz")
    finally:
        end(service)


def test_trace_context_leads_from_a_request_to_its_line(monitored: Monitored) -> None:
    """Through the socket, the service and its log."""
    lines = [line for line in monitored.lines if line["event"] == "decision"]
    assert lines
    assert {line.get("traceparent") for line in lines} == {TRACEPARENT}
