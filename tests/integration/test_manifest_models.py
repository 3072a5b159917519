"""Every object of Istio's, Envoy Gateway's and the Gateway API's kinds, judged by their schemas and their types."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.manifests import LEFT_OUT, MISSPELLED, Object, changed, objects

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


def test_object_fits_its_kind(models: Path) -> None:
    """No value that a schema refuses, no property that the kind does not have."""
    found = objects(core=False)
    wrong = dict(zip(found, problems(models, list(found.values())), strict=True))
    assert {name: each for name, each in wrong.items() if each} == {}
    assert len(found) >= 20


def named(*parts: str) -> dict[str, Any]:
    """The first object whose name holds all of these."""
    return dict(next(one for name, one in objects(core=False).items() if all(part in name for part in parts)))


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


def test_broken_object_is_refused(models: Path) -> None:
    """Each by a problem of its own; the judge that finds nothing wrong above can find something."""
    broken = [changed(*one) for one in BROKEN.values()]
    found = dict(zip(BROKEN, problems(models, broken), strict=True))
    assert [what for what, each in found.items() if not each] == []


def test_lock_names_no_host_of_a_registry(models: Path) -> None:
    """And pins every package by its digest."""
    lock = json.loads((models / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: one for name, one in lock["packages"].items() if name}
    assert not [name for name, one in packages.items() if "resolved" in one]
    assert all(one["integrity"].startswith("sha512-") for one in packages.values())
