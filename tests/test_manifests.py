"""The manifests of deploy/, read: valid, of one piece, and only the gateway let in."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.certificates import Authority
from support.manifests import (
    DEPLOY,
    FOLDERS,
    KUBERNETES,
    LEFT_OUT,
    MISSPELLED,
    Object,
    admitted,
    changed,
    figures,
    objects,
    of_kind,
    provider,
    the,
)
from support.proxy_tls import server, write

from authz.app.config import Settings, load_settings
from authz.app.listeners import listener_of
from authz.clock import SystemClock
from authz.crls.disk_store import MAX_ASIDE_BYTES
from authz.crls.fetch.client import FetchLimits
from authz.crls.fetch.transfer_quota import GROWTH
from authz.errors import ConfigError
from authz.headers import KNOWN_HEADERS
from authz.supervision.worker import DATA_FACTOR
from authz.web.answer import IDENTITY_HEADERS
from authz.web.tls import ReloadingContext, TlsFiles

CORE_OBJECTS = objects(core=True)


@pytest.mark.parametrize("name", CORE_OBJECTS)
def test_core_object_validates(name: str) -> None:
    """By Kubernetes' own schema, and without a property that it does not know."""
    kubernetes_validate.validate(dict(CORE_OBJECTS[name]), KUBERNETES, strict=True)


POD = ("spec", "template", "spec")
BROKEN: dict[str, tuple[str, Sequence[str | int], object]] = {
    "misspelled, deep inside": ("Deployment", (*POD, "containers", 0, "readinessProbe"), MISSPELLED),
    "another type": ("Deployment", ("spec", "replicas"), "two"),
    "left out": ("Deployment", ("spec", "selector"), LEFT_OUT),
    "misspelled lock": ("NetworkPolicy", ("spec", "ingress", 0, "from"), MISSPELLED),
    "no list": ("Service", ("spec", "ports"), 9443),
    "a number for a text": ("ConfigMap", ("data", "authz.toml"), 1),
    "misspelled budget": ("PodDisruptionBudget", ("spec", "minAvailable"), MISSPELLED),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_core_object_is_refused(what: str) -> None:
    """The validator that finds nothing wrong above can find something."""
    kind, path, value = BROKEN[what]
    broken = changed(dict(next(of_kind(kind, "kubernetes"))), path, value)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_every_file_is_judged() -> None:
    """Each holds objects that one of the validators knows; mesh-config.yaml alone has tests of its own."""
    files = {f"{folder}/{path.name}" for folder in FOLDERS for path in (DEPLOY / folder).iterdir()}
    assert {name.partition(":")[0] for name in objects()} == files - {"istio/mesh-config.yaml"}
    groups = {one["apiVersion"].partition("/")[0] for one in objects(core=False).values()}
    istio, gateway = (
        {"networking.istio.io", "security.istio.io"},
        {"gateway.envoyproxy.io", "gateway.networking.k8s.io"},
    )
    assert groups == istio | gateway


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """What the service reads from the ConfigMap."""
    path = tmp_path / "authz.toml"
    path.write_text(the("ConfigMap", "kubernetes", "authz-settings")["data"]["authz.toml"], encoding="utf-8")
    return load_settings(path)


def test_settings_of_the_configmap_load_and_make_a_listener(settings: Settings) -> None:
    """One listener, and it is locked: beyond loopback by mutual TLS with names, never by a network alone."""
    (listener,) = settings.listener
    assert listener_of(listener).name == "gateway"
    assert listener.tls is not None
    assert listener.tls.names == ("gateway.proxies.example.test",)
    assert not listener.unsafe_plaintext
    assert settings.ops.address.startswith("127.0.0.1:")


def test_files_of_the_settings_are_mounted(settings: Settings) -> None:
    """Each path lies in a volume of the container, and the Secret of anchors has the file."""
    pod = the("Deployment", "kubernetes", "authz")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    tls = settings.listener[0].tls
    assert tls is not None
    assert {str(one.parent) for one in (tls.certificate, tls.key)} == {"/etc/authz/tls"}
    assert tls.client_ca.name in the("Secret", "kubernetes", "authz-anchors")["stringData"]
    assert settings.crl.folder is not None
    wanted = {tls.client_ca.parent, tls.certificate.parent, settings.crl.folder.parent, Path("/var/lib/authz")}
    assert {str(one) for one in wanted} <= set(mounts)
    assert set(mounts.values()) == {one["name"] for one in pod["volumes"]}
    assert container["command"][2] == "/etc/authz/settings/authz.toml"
    assert not any("subPath" in one for one in container["volumeMounts"])
    # The root is not to be written to, and the processes of the service write their metrics somewhere.
    empty = {one["name"] for one in pod["volumes"] if "emptyDir" in one}
    assert [one["name"] in empty for one in container["volumeMounts"] if one["mountPath"] == "/" + "tmp"] == [True]


def test_volume_holds_what_is_kept_fetched_and_set_aside(settings: Settings) -> None:
    """Beyond its bound the pod is evicted: a tenant's CRLs must not get there, whatever they are."""
    volumes = the("Deployment", "kubernetes", "authz")["spec"]["template"]["spec"]["volumes"]
    (size,) = [one["emptyDir"]["sizeLimit"] for one in volumes if one["name"] == "cache"]
    # What is fetched is copied to its place before it is let go of, one at a time.
    kept = settings.crl.kept_bytes
    # The halves, the part of each party, and a longer successor of each CRL that is held.
    transfers = 2 * FetchLimits().together + kept + kept // GROWTH
    taken = kept + transfers + MAX_ASIDE_BYTES + settings.crl.max_bytes
    assert size == "4Gi"
    assert taken < 2**32


def test_shipped_anchors_refuse_to_start(tmp_path: Path) -> None:
    """A Secret that was applied as it is trusts no client."""
    write(tmp_path, "server", server())
    ca = tmp_path / "ca.pem"
    ca.write_text(the("Secret", "kubernetes", "authz-anchors")["stringData"]["proxies-ca.pem"])
    files = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key", ca)
    with pytest.raises(ConfigError, match="cannot be used"):
        ReloadingContext(files, frozenset({"x"}), refused=print, warn=print, now=SystemClock().now)
    ca.write_text(Authority.root().pem)
    ReloadingContext(files, frozenset({"x"}), refused=print, warn=print, now=SystemClock().now)


def test_port_is_one_everywhere(settings: Settings) -> None:
    """Where the service listens, where it is admitted, and where it is asked."""
    port = int(settings.listener[0].address.rpartition(":")[2])
    template = the("Deployment", "kubernetes", "authz")["spec"]["template"]
    (exposed,) = template["spec"]["containers"][0]["ports"]
    (service,) = the("Service", "kubernetes", "authz")["spec"]["ports"]
    (backend,) = the("SecurityPolicy", "envoy-gateway", "authz")["spec"]["extAuth"]["http"]["backendRefs"]
    (sidecar,) = the("Sidecar", "istio", "authz")["spec"]["ingress"]
    policies = [one for one in of_kind("NetworkPolicy") if one["metadata"]["namespace"] == "authz"]
    assert {port for one in policies for port in _ports(one)} == {port}
    asked = {exposed["containerPort"], service["port"], backend["port"], sidecar["port"]["number"], provider()["port"]}
    assert asked == {port}
    assert service["targetPort"] == exposed["name"]
    assert template["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] == str(port)


def _ports(policy: Object) -> set[int]:
    return {port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]}


def test_service_selects_the_pods_and_the_budget_keeps_one() -> None:
    """By one label, and fewer than there are."""
    deployment = the("Deployment", "kubernetes", "authz")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    budget = the("PodDisruptionBudget", "kubernetes", "authz")["spec"]
    selectors = [the("Service", "kubernetes", "authz")["spec"]["selector"], budget["selector"]["matchLabels"]]
    assert all(one.items() <= labels.items() for one in (*selectors, deployment["selector"]["matchLabels"]))
    assert 0 < budget["minAvailable"] < deployment["replicas"]


def test_container_may_do_nothing_it_needs_not() -> None:
    """Not root, nothing written but in volumes, no capability, no token of Kubernetes."""
    pod = the("Deployment", "kubernetes", "authz")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} == set(container["resources"])
    (namespace,) = of_kind("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_probes_ask_the_operators_page_and_time_to_stop_suffices(settings: Settings) -> None:
    """Each with the page that means it, on loopback; checks in job end before the pod is killed."""
    pod = the("Deployment", "kubernetes", "authz")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for probe, page in (("startupProbe", "healthz"), ("livenessProbe", "healthz"), ("readinessProbe", "readyz")):
        program, flag, code = container[probe]["exec"]["command"]
        assert (program, flag) == ("python", "-ISc")
        assert f"http://{settings.ops.health_probe_address}/{page}'" in code
        compile(code, probe, "exec")
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > sleep + settings.limits.stop_seconds


def mebibytes(quantity: str) -> int:
    """A quantity of Kubernetes'."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_worker_is_replaced_before_the_kernel_ends_it(settings: Settings) -> None:
    """All that counts against the pod fits its limit, even with one worker at its hard limit; the default does not."""
    pod = the("Deployment", "kubernetes", "authz")["spec"]["template"]["spec"]
    limit = mebibytes(pod["containers"][0]["resources"]["limits"]["memory"])
    in_memory = [one["emptyDir"] for one in pod["volumes"] if one.get("emptyDir", {}).get("medium") == "Memory"]
    beside = figures()
    tmp = beside.pop("`TMPDIR`, where it is in memory")
    assert sum(mebibytes(one["sizeLimit"]) for one in in_memory) == tmp
    assert len(beside) == 5
    limits = settings.limits
    fixed = sum(beside.values()) + tmp
    assert limits.workers * limits.worker_memory + fixed <= limit
    assert (limits.workers + DATA_FACTOR - 1) * limits.worker_memory + fixed <= limit
    assert Settings().limits.worker_memory + fixed > limit


ENVOY_GATEWAYS = {
    "gateway.envoyproxy.io/owning-gateway-namespace": "edge",
    "gateway.envoyproxy.io/owning-gateway-name": "edge",
}
INGRESS = {"istio": "ingress"}
ADMITTED = [
    ("kubernetes", "authz", "edge", INGRESS),
    ("kubernetes", "shop", "edge", INGRESS),
    ("envoy-gateway", "authz", "envoy-gateway-system", ENVOY_GATEWAYS),
    ("envoy-gateway", "shop", "envoy-gateway-system", ENVOY_GATEWAYS),
    ("istio", "authz", "shop", {"app": "orders"}),
]
"""The folder of policies, the namespace that they guard, and the one proxy that they admit."""


@pytest.mark.parametrize(("folder", "guarded", "namespace", "labels"), ADMITTED)
def test_network_policy_admits_the_proxy_alone(
    folder: str, guarded: str, namespace: str, labels: dict[str, str]
) -> None:
    """To the service and to the application: by namespace and label together."""
    policies = [one for one in of_kind("NetworkPolicy", folder) if one["metadata"]["namespace"] == guarded]
    assert policies
    assert admitted(policies, namespace, labels | {"more": "x"})
    for stranger in ((namespace, {}), ("elsewhere", labels), (guarded, {"app": "authz"}), (namespace, {"app": "x"})):
        assert not admitted(policies, *stranger)


def test_policy_in_two_items_would_admit_strangers() -> None:
    """The slip that the manifest warns of, seen by the reading above."""
    policy = dict(the("NetworkPolicy", "kubernetes", "authz"))
    (peer,) = policy["spec"]["ingress"][0]["from"]
    split = changed(policy, ("spec", "ingress", 0, "from"), [{key: value} for key, value in peer.items()])
    assert admitted([split], "edge", {})
    assert admitted([split], "authz", INGRESS)
    assert admitted([changed(policy, ("spec", "ingress", 0, "from"), LEFT_OUT)], "elsewhere", {})


def test_whole_namespace_of_the_service_is_locked_both_ways() -> None:
    """Whatever a pod calls itself."""
    spec = the("NetworkPolicy", "kubernetes", "authz")["spec"]
    assert spec["podSelector"] == {}
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
    blocks = [peer["ipBlock"] for rule in spec["egress"] for peer in rule["to"] if "ipBlock" in peer]
    assert all("169.254.0.0/16" in one["except"] or one["cidr"] == "::/0" for one in blocks)


EXT_AUTHZ_FIELDS = frozenset(
    {
        "service",
        "port",
        "timeout",
        "pathPrefix",
        "failOpen",
        "clearRouteCache",
        "statusOnError",
        "headersToUpstreamOnAllow",
        "headersToDownstreamOnDeny",
        "headersToDownstreamOnAllow",
        "includeRequestBodyInCheck",
        "includeRequestHeadersInCheck",
        "includeAdditionalHeadersInCheck",
    }
)
"""istio.mesh.v1alpha1.MeshConfig.ExtensionProvider.EnvoyExternalAuthorizationHttpProvider."""


def provider_problems(one: Mapping[str, Any]) -> list[str]:
    """What is wrong with an extension provider; no schema of Istio's judges mesh settings."""
    rules = {
        "unknown field": not one.keys() - EXT_AUTHZ_FIELDS,
        "service and port": isinstance(one.get("service"), str) and isinstance(one.get("port"), int),
        "fails open": one.get("failOpen") is False,
        "status of a failure": one.get("statusOnError") == "503",
        "certificate sent": "x-forwarded-client-cert" in one.get("includeRequestHeadersInCheck", ()),
        "token sent": "authorization" in one.get("includeRequestHeadersInCheck", ()),
        "statement is the gateway's": "x-authz-peer" in one.get("includeAdditionalHeadersInCheck", {})
        and not any(name.startswith(("x-authz", "*")) for name in one.get("includeRequestHeadersInCheck", ())),
        "identity headers": set(one.get("headersToUpstreamOnAllow", ())) == set(IDENTITY_HEADERS),
    }
    return [rule for rule, holds in rules.items() if not holds]


def test_extension_provider_is_right() -> None:
    """Fails closed, sends certificate and token, lets no identity header of a client stand."""
    assert provider_problems(provider()) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("failOpen",), True, "fails open"),
        (("failOpen",), LEFT_OUT, "fails open"),
        (("timeout",), MISSPELLED, "unknown field"),
        (("port",), "https", "service and port"),
        (("includeRequestHeadersInCheck",), ["authorization"], "certificate sent"),
        (("includeRequestHeadersInCheck", 0), "x-*", "certificate sent"),
        (("includeRequestHeadersInCheck", 1), "x-authz-peer", "token sent"),
        (("includeAdditionalHeadersInCheck",), LEFT_OUT, "statement is the gateway's"),
        (("headersToUpstreamOnAllow", 1), LEFT_OUT, "identity headers"),
    ],
)
def test_broken_extension_provider_is_refused(path: Sequence[str | int], value: object, problem: str) -> None:
    """The reading above can find something."""
    assert problem in provider_problems(changed(provider(), path, value))


def test_every_request_is_asked_about() -> None:
    """A CUSTOM policy without rules matches nothing, one with paths lets the others pass."""
    custom = [one["spec"] for one in of_kind("AuthorizationPolicy") if one["spec"]["action"] == "CUSTOM"]
    assert len(custom) == 2
    assert all(one["rules"] == [{}] and one["provider"] == {"name": "authz"} for one in custom)
    (policy,) = of_kind("SecurityPolicy")
    assert [one["kind"] for one in policy["spec"]["targetRefs"]] == ["Gateway"]
    assert policy["spec"]["extAuth"]["failOpen"] is False


@pytest.mark.parametrize("rule", list(of_kind("DestinationRule")), ids=lambda one: one["metadata"]["namespace"])
def test_proxy_shows_a_certificate_and_verifies_whom_it_asks(rule: Object) -> None:
    """Its own, and the service's name."""
    tls = rule["spec"]["trafficPolicy"]["tls"]
    assert tls["mode"] == "MUTUAL"
    assert tls["subjectAltNames"] == [provider()["service"]]


def test_headers_that_only_proxies_may_set_do_not_reach_the_application() -> None:
    """Every name that the service knows, at either gateway; Gateway API takes 16 at most."""
    (virtual,) = of_kind("VirtualService")
    assert set(virtual["spec"]["http"][0]["headers"]["request"]["remove"]) >= KNOWN_HEADERS | {"authorization"}
    (client,) = of_kind("ClientTrafficPolicy")
    (route,) = of_kind("HTTPRoute")
    early = client["spec"]["headers"]["earlyRequestHeaders"]["remove"]
    late = route["spec"]["rules"][0]["filters"][0]["requestHeaderModifier"]["remove"]
    assert {*early, *late} >= KNOWN_HEADERS | {"authorization", "x-authz-payload", "x-authz-peer"}
    assert not {*early, *late} & set(IDENTITY_HEADERS)
    assert max(len(early), len(late)) <= 16


def test_certificate_is_asked_for_and_not_required() -> None:
    """At either gateway; the header is the gateway's own."""
    (gateway,) = (one for one in of_kind("Gateway", "istio"))
    assert [one["tls"]["mode"] for one in gateway["spec"]["servers"]] == ["OPTIONAL_MUTUAL"]
    (client,) = of_kind("ClientTrafficPolicy")
    assert client["spec"]["tls"]["clientValidation"]["optional"] is True
    assert client["spec"]["headers"]["xForwardedClientCert"] == {
        "mode": "SanitizeSet",
        "certDetailsToAdd": ["Cert", "Chain"],
    }


def test_mesh_configuration_is_yaml() -> None:
    """Values for a chart, with nothing else in them."""
    values = yaml.safe_load((DEPLOY / "istio" / "mesh-config.yaml").read_text(encoding="utf-8"))
    assert list(values) == ["meshConfig"]


@pytest.mark.parametrize(
    ("section", "number", "file"),
    [
        ("With a sidecar of its own", 0, "own-sidecar.yaml"),
        ("With a sidecar of its own", 1, "own-sidecar.yaml"),
        ("Gateway and sidecar", 0, "sidecar-asks.yaml"),
    ],
)
def test_settings_elsewhere_are_in_the_manifest_as_on_the_page(section: str, number: int, file: str) -> None:
    """What docs/mesh.md shows, and the tests with real Envoys run, stands in the manifest's comments to the letter."""
    page = (DEPLOY.parent / "docs" / "mesh.md").read_text(encoding="utf-8").partition(f"# {section}\n")[2]
    block = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[number]
    assert yaml.safe_load(block)
    assert textwrap.indent(block, "#   ") in (DEPLOY / "istio" / file).read_text(encoding="utf-8")
