"""The manifests of deploy/prometheus/kubernetes: they fit those of deploy/kubernetes, and let Prometheus in alone."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from support.manifests import DEPLOY, KUBERNETES, Object, admitted, changed, patched, the

from authz.app.config import Settings, load_settings
from authz.app.listeners import check_listeners

FOLDER = DEPLOY / "prometheus" / "kubernetes"
PATCH = yaml.safe_load((FOLDER / "deployment-patch.yaml").read_text(encoding="utf-8"))
OBJECTS = {one["kind"]: one for one in yaml.safe_load_all((FOLDER / "pod-monitor.yaml").read_text(encoding="utf-8"))}


@pytest.fixture
def deployment() -> Object:
    """The Deployment, patched."""
    made: Object = patched(the("Deployment", "kubernetes", "authz"), PATCH)
    return made


@pytest.fixture
def settings(deployment: Object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the service of the patched Deployment reads: the ConfigMap, and over it the container's variables."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    path = tmp_path / "authz.toml"
    path.write_text(the("ConfigMap", "kubernetes", "authz-settings")["data"]["authz.toml"], encoding="utf-8")
    return load_settings(path)


def test_patched_deployment_and_policy_validate(deployment: Object) -> None:
    """By Kubernetes' own schema, and without a property that it does not know."""
    for one in (deployment, OBJECTS["NetworkPolicy"]):
        kubernetes_validate.validate(dict(one), KUBERNETES, strict=True)


def test_patched_service_listens_for_prometheus_alone(settings: Settings, deployment: Object) -> None:
    """By mutual TLS with a name; its files are mounted, and the name is no proxy's."""
    check_listeners(settings)
    tls = settings.ops.tls
    assert tls is not None
    assert settings.ops.address == "0.0.0.0:9901"
    assert not settings.ops.unsafe_plaintext
    (listener,) = settings.listener
    assert listener.tls is not None
    assert not set(tls.names) & set(listener.tls.names)
    assert tls.client_ca != listener.tls.client_ca
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    mounted = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    assert {str(path.parent) for path in (tls.certificate, tls.key, tls.client_ca)} <= mounted.keys()
    assert set(mounted.values()) == {one["name"] for one in deployment["spec"]["template"]["spec"]["volumes"]}


def test_probes_of_the_patched_deployment_ask_on_loopback_still(settings: Settings, deployment: Object) -> None:
    """The kubelet shows no certificate: each probe runs in the pod, at a listener that strangers cannot reach."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert f"http://{settings.ops.health_probe_address}/" in container[probe]["exec"]["command"][-1]
    assert settings.ops.health_probe_address == "127.0.0.1:9902"


def test_pod_monitor_asks_where_the_patched_pod_listens(settings: Settings, deployment: Object) -> None:
    """The port by its name, the pods by their label, the certificate by the Service's name."""
    monitor = OBJECTS["PodMonitor"]["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    template = deployment["spec"]["template"]
    ports = {one["name"]: one["containerPort"] for one in template["spec"]["containers"][0]["ports"]}
    assert ports[endpoint["port"]] == int(settings.ops.address.rpartition(":")[2])
    assert monitor["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert monitor["namespaceSelector"] == {"matchNames": [deployment["metadata"]["namespace"]]}
    service = the("Service", "kubernetes", "authz")["metadata"]
    assert endpoint["tlsConfig"]["serverName"] == f"{service['name']}.{service['namespace']}.svc.cluster.local"
    assert (endpoint["scheme"], endpoint["path"]) == ("https", "/metrics")
    assert set(endpoint["tlsConfig"]) == {"serverName", "ca", "cert", "keySecret"}
    # The series have the job that the dashboard lists.
    assert template["metadata"]["labels"][monitor["jobLabel"]] == "authz"


def test_network_policy_admits_prometheus_alone(deployment: Object) -> None:
    """By namespace and label together, to the operators' port alone."""
    policy = OBJECTS["NetworkPolicy"]
    prometheus = {"app.kubernetes.io/name": "prometheus"}
    assert admitted([policy], "monitoring", prometheus | {"more": "x"})
    for stranger in (
        ("monitoring", {}),
        ("elsewhere", prometheus),
        ("authz", prometheus),
        ("monitoring", {"app": "x"}),
    ):
        assert not admitted([policy], *stranger)
    assert policy["metadata"]["namespace"] == deployment["metadata"]["namespace"]
    (rule,) = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 9901}]
    split = changed(policy, ("spec", "ingress", 0, "from"), [{key: value} for key, value in rule["from"][0].items()])
    assert admitted([split], "monitoring", {})


def test_sidecar_that_is_injected_all_the_same_leaves_both_ports_alone(settings: Settings, deployment: Object) -> None:
    """It would terminate the TLS by which the service knows who asks."""
    ports = [one.address.rpartition(":")[2] for one in (*settings.listener, settings.ops)]
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["traffic.sidecar.istio.io/excludeInboundPorts"] == ",".join(ports)
