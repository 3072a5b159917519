"""Every object of the kinds of Istio, the gateways and the Prometheus operator, judged by their schemas and types."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manifests import DEPLOY, LEFT_OUT, MISSPELLED, Object, changed, objects

pytestmark = pytest.mark.node


def problems(models: Path, documents: Sequence[Object]) -> list[list[str]]:
    """What is wrong with each."""
    command = ["node", str(models / "check.mjs")]
    done = subprocess.run(
        command, input=json.dumps(documents), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(documents)
    return list(found)


SOUND = objects(core=False)


@pytest.fixture(scope="module")
def judged(models: Path) -> dict[str, list[str]]:
    """What is wrong with each object of this file, by its name: all at once, for the types are read for seconds."""
    every = SOUND | {name: changed(*one) for name, one in BROKEN.items()} | {"monitor": POD_MONITOR} | BROKEN_MONITORS
    assert len(every) == len(SOUND) + len(BROKEN) + 1 + len(BROKEN_MONITORS)
    return dict(zip(every, problems(models, list(every.values())), strict=True))


def test_object_fits_its_kind(judged: dict[str, list[str]]) -> None:
    """No value that a schema refuses, no property that the kind does not have."""
    assert {name: judged[name] for name in SOUND if judged[name]} == {}
    assert len(SOUND) >= 20


def named(*parts: str) -> dict[str, Any]:
    """The first object whose name holds all of these."""
    return dict(next(one for name, one in SOUND.items() if all(part in name for part in parts)))


SPEC = "spec"
BROKEN: dict[str, tuple[dict[str, Any], Sequence[str | int], object]] = {
    "misspelled rules": (named("AuthorizationPolicy"), (SPEC, "rules"), MISSPELLED),
    "another action": (named("AuthorizationPolicy"), (SPEC, "action"), "CUSTOMS"),
    "misspelled authentication": (named("istio", "PeerAuthentication"), (SPEC, "mtls"), MISSPELLED),
    "another mode of TLS": (named("DestinationRule"), (SPEC, "trafficPolicy", "tls", "mode"), "MUTUALLY"),
    "misspelled name of the service": (
        named("DestinationRule"),
        (SPEC, "trafficPolicy", "tls", "subjectAltNames"),
        MISSPELLED,
    ),
    "another mode of the gateway": (named("istio", ":Gateway"), (SPEC, "servers", 0, "tls", "mode"), "MAYBE"),
    "misspelled removal": (named("VirtualService"), (SPEC, "http", 0, "headers", "request", "remove"), MISSPELLED),
    "no endpoint": (named("Sidecar"), (SPEC, "ingress", 0, "port", "number"), "9443"),
    "another context": (named("EnvoyFilter"), (SPEC, "configPatches", 0, "match", "context"), "EDGE"),
    "misspelled failOpen": (named("SecurityPolicy"), (SPEC, "extAuth", "failOpen"), MISSPELLED),
    "failOpen in words": (named("SecurityPolicy"), (SPEC, "extAuth", "failOpen"), "no"),
    "misspelled headers": (named("SecurityPolicy"), (SPEC, "extAuth", "headersToExtAuth"), MISSPELLED),
    "another trigger": (
        named("SecurityPolicy"),
        (SPEC, "extAuth", "http", "backendSettings", "retry", "retryOn", "triggers", 0),
        "always",
    ),
    "another mode of the header": (
        named("ClientTrafficPolicy"),
        (SPEC, "headers", "xForwardedClientCert", "mode"),
        "SanitiseSet",
    ),
    "misspelled validation": (named("ClientTrafficPolicy"), (SPEC, "tls", "clientValidation"), MISSPELLED),
    "misspelled certificate": (named("EnvoyProxy"), (SPEC, "backendTLS", "clientCertificateRef"), MISSPELLED),
    "no hostname": (named("BackendTLSPolicy"), (SPEC, "validation", "hostname"), LEFT_OUT),
    "another filter": (named("HTTPRoute"), (SPEC, "rules", 0, "filters", 0, "type"), "HeaderModifier"),
    "misspelled grant": (named("ReferenceGrant"), (SPEC, "from"), MISSPELLED),
    "another kind": (named("GatewayClass"), ("kind",), "GatewayClasses"),
    "another version": (named("SecurityPolicy"), ("apiVersion",), "gateway.envoyproxy.io/v9"),
}


def test_broken_object_is_refused(judged: dict[str, list[str]]) -> None:
    """Each by a problem of its own; the judge that finds nothing wrong above can find something."""
    assert [what for what in BROKEN if not judged[what]] == []


OF_MONITORING = yaml.safe_load_all(
    (DEPLOY / "prometheus" / "kubernetes" / "pod-monitor.yaml").read_text(encoding="utf-8")
)
POD_MONITOR = next(one for one in OF_MONITORING if one["kind"] == "PodMonitor")
ENDPOINT = (SPEC, "podMetricsEndpoints", 0)


BROKEN_MONITORS = {
    "misspelled lock": changed(POD_MONITOR, (*ENDPOINT, "tlsConfig", "serverName"), MISSPELLED),
    "another scheme": changed(POD_MONITOR, (*ENDPOINT, "scheme"), "tls"),
    "secret without its key": changed(POD_MONITOR, (*ENDPOINT, "tlsConfig", "keySecret", "key"), LEFT_OUT),
    "another selector": changed(POD_MONITOR, (SPEC, "namespaceSelector"), "authz"),
}


def test_pod_monitor_fits_its_kind(judged: dict[str, list[str]]) -> None:
    """And one with a misspelled lock, another scheme or a secret without its key does not."""
    assert judged["monitor"] == []
    assert all(judged[what] for what in BROKEN_MONITORS)


def test_lock_names_no_host_of_a_registry(models: Path) -> None:
    """And pins every package by its digest."""
    lock = json.loads((models / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert not [name for name, one in packages.items() if "resolved" in one]
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
