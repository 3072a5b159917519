"""The manifests of deploy/kubernetes-postgresql: they fit the others, and no pod has more than it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import kubernetes_validate
import pytest
import yaml
from support.manifests import DEPLOY, KUBERNETES, Object, patched, the

from authz.directory.postgresql.parameters import parameters_of

FOLDER = DEPLOY / "kubernetes-postgresql"
PATCH = yaml.safe_load((FOLDER / "deployment-patch.yaml").read_text(encoding="utf-8"))
OBJECTS = {
    (one["kind"], one["metadata"]["name"]): one
    for path in sorted(FOLDER.glob("[0-9]*.yaml"))
    for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))
}
JOB = OBJECTS["Job", "authz-migration"]
OWNER = {"name": "authz-database-owner", "key": "url"}
READER = {"name": "authz-database", "key": "url"}


@pytest.fixture
def deployment() -> Object:
    """The Deployment, patched."""
    made: Object = patched(the("Deployment", "kubernetes", "authz"), PATCH)
    return made


def pod_of(owner: Object) -> Any:
    """The pods' own part."""
    return owner["spec"]["template"]["spec"]


def secrets_of(pod: Any) -> Iterator[Mapping[str, str]]:
    """Each Secret's key that a container has in its environment."""
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        for variable in container["env"]:
            if "valueFrom" in variable:
                yield variable["valueFrom"]["secretKeyRef"]


@pytest.mark.parametrize("name", OBJECTS, ids="-".join)
def test_object_validates(name: tuple[str, str]) -> None:
    """By Kubernetes' own schema, and without a property that it does not know."""
    kubernetes_validate.validate(dict(OBJECTS[name]), KUBERNETES, strict=True)
    assert OBJECTS[name]["metadata"]["namespace"] == "authz"


def test_patched_deployment_validates_and_needs_no_volume(deployment: Object) -> None:
    """Nor anything else that belongs to one node."""
    kubernetes_validate.validate(dict(deployment), KUBERNETES, strict=True)
    pod = pod_of(deployment)
    assert not any("persistentVolumeClaim" in volume for volume in pod["volumes"])
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert pod["initContainers"] == []


def test_pods_are_on_different_nodes(deployment: Object) -> None:
    """Each node has as many as another, whatever the version that is leaving has there."""
    pod = pod_of(deployment)
    assert "affinity" not in pod
    (spread,) = pod["topologySpreadConstraints"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()
    assert (spread["topologyKey"], spread["maxSkew"]) == ("kubernetes.io/hostname", 1)
    assert spread["whenUnsatisfiable"] == "DoNotSchedule"
    assert deployment["spec"]["replicas"] == 2


def test_owner_of_the_tables_is_the_migrations_alone(deployment: Object) -> None:
    """A service that is taken over can register nothing, nor migrate; no other Secret is in an environment."""
    assert list(secrets_of(pod_of(deployment))) == [READER]
    assert list(secrets_of(pod_of(JOB))) == [OWNER, OWNER]
    users = {name: parameters_of(url_of(name))["user"] for name in ("authz-database", "authz-database-owner")}
    assert users == {"authz-database": "checks", "authz-database-owner": "directory"}


def url_of(name: str) -> str:
    """That of a Secret."""
    return str(OBJECTS["Secret", name]["stringData"]["url"])


@pytest.mark.parametrize("name", ["authz-database", "authz-database-owner"])
def test_server_is_verified_by_a_ca_that_is_mounted(name: str, deployment: Object) -> None:
    """In the pods of the service and in those of the migration; the name is in the namespace that may be reached."""
    parameters = parameters_of(url_of(name))
    assert parameters["sslmode"] == "verify-full"
    folder, _, file = parameters["sslrootcert"].rpartition("/")
    assert file in OBJECTS["ConfigMap", "authz-database-ca"]["data"]
    for pod in (pod_of(deployment), pod_of(JOB)):
        mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        (volume,) = [one for one in pod["volumes"] if one["name"] == mounts[folder]]
        assert volume["configMap"] == {"name": "authz-database-ca"}
    (peer,) = OBJECTS["NetworkPolicy", "authz-database"]["spec"]["egress"][0]["to"]
    assert parameters["host"].split(".")[1] == peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert "podSelector" in peer


def test_migration_is_what_the_deployment_did_and_makes_the_roles(deployment: Object) -> None:
    """By the same image; it may do nothing more than the service."""
    pod, (before,) = pod_of(JOB), pod_of(the("Deployment", "kubernetes", "authz"))["initContainers"]
    ((upgrade,), (grants,)) = pod["initContainers"], pod["containers"]
    assert upgrade["command"] == before["command"]
    assert grants["command"] == ["authz", "db", "grants"]
    service = pod_of(deployment)["containers"][0]
    for container in (upgrade, grants):
        assert container["image"] == service["image"]
        assert container["securityContext"] == service["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False


def test_network_policy_lets_service_and_migration_out_to_the_database_alone(deployment: Object) -> None:
    """To one port; nothing comes in by it."""
    spec = OBJECTS["NetworkPolicy", "authz-database"]["spec"]
    (expression,) = spec["podSelector"]["matchExpressions"]
    labels = [owner["spec"]["template"]["metadata"]["labels"]["app"] for owner in (deployment, JOB)]
    assert (expression["operator"], expression["values"]) == ("In", labels)
    assert spec["policyTypes"] == ["Egress"]
    assert [rule["ports"] for rule in spec["egress"]] == [[{"protocol": "TCP", "port": 5432}]]
