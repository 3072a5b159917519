"""The manifests of deploy/: every object, and who judges it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
FOLDERS = ("kubernetes", "istio", "envoy-gateway")

KUBERNETES = "1.37"
"""The version whose schema judges."""

CORE = frozenset({"v1", "apps/v1", "policy/v1", "networking.k8s.io/v1"})
"""API versions that `kubernetes-validate` judges; the models of tests/manifest_models judge the others."""

Object = Mapping[str, Any]


@cache
def documents(path: Path) -> tuple[dict[str, Any], ...]:
    """What a file holds, which is read once."""
    return tuple(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))


def objects(*, core: bool | None = None) -> dict[str, Object]:
    """Every object by file, kind and name; with `core`, those that one of the validators judges."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((DEPLOY / folder).glob("*.yaml")):
            if path.name == "mesh-config.yaml":  # values, no object
                continue
            for one in documents(path):
                if core is None or core is (one["apiVersion"] in CORE):
                    data = one["metadata"]
                    name = f"{folder}/{path.name}:{one['kind']}:{data['name']}:{data.get('namespace')}"
                    assert found.setdefault(name, one) is one, f"{name} twice"
    return found


def of_kind(kind: str, folder: str = "") -> Iterator[Object]:
    """The objects of a kind, of one folder."""
    return (one for name, one in objects().items() if one["kind"] == kind and name.startswith(folder))


def the(kind: str, folder: str, name: str, namespace: str | None = None) -> Object:
    """The one object of that kind and name."""
    (found,) = (
        one
        for one in of_kind(kind, folder)
        if one["metadata"]["name"] == name and namespace in {None, one["metadata"].get("namespace")}
    )
    return found


def provider() -> dict[str, Any]:
    """Istio's extension provider, as deploy/istio/mesh-config.yaml has it."""
    values = yaml.safe_load((DEPLOY / "istio" / "mesh-config.yaml").read_text(encoding="utf-8"))
    (one,) = values["meshConfig"]["extensionProviders"]
    assert one["name"] == "authz"
    return dict(one["envoyExtAuthzHttp"])


def changed(document: Any, path: Sequence[str | int], value: object) -> Any:
    """A copy of `document` in which `value` stands at `path`, or its key is MISSPELLED or LEFT_OUT."""
    copy = yaml.safe_load(yaml.safe_dump(document))
    place = copy
    for step in path[:-1]:
        place = place[step]
    last = path[-1]
    if value is MISSPELLED:
        place[f"{last}x"] = place.pop(last)
    elif value is LEFT_OUT:
        del place[last]
    else:
        place[last] = value
    return copy


MISSPELLED, LEFT_OUT = object(), object()


def figures() -> dict[str, int]:
    """What docs/operations.md says that the service takes beside its workers, in MiB."""
    page = (DEPLOY.parent / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \|", page.partition("## Memory\n")[2].partition("\n## ")[0], re.MULTILINE)
    return {what: int(mebibytes) for what, mebibytes in rows}


def admitted(policies: Sequence[Object], namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a pod may connect to one that `policies` select, as Kubernetes reads them."""
    return any(
        _is(peer, one["metadata"]["namespace"], namespace, labels)
        for one in policies
        for rule in one["spec"].get("ingress", [])
        for peer in rule.get("from", [{"namespaceSelector": {}}])
    )


def _is(peer: Mapping[str, Any], own: str, namespace: str, labels: Mapping[str, str]) -> bool:
    """A selector that is absent: the policy's own namespace, every pod of it; one that is empty: all."""
    if "ipBlock" in peer:
        return True
    wanted = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": own}}).get("matchLabels", {})
    pods = peer.get("podSelector", {}).get("matchLabels", {})
    return wanted.items() <= {"kubernetes.io/metadata.name": namespace}.items() and pods.items() <= labels.items()


MERGED_BY = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "ports": "containerPort",
    "volumeMounts": "mountPath",
    "volumes": "name",
    "topologySpreadConstraints": "topologyKey",
}
"""By what Kubernetes merges the lists of a pod (`patchMergeKey` in its API)."""


def patched(document: Any, patch: Any, name: str = "") -> Any:
    """A strategic merge patch, applied: mappings are merged, lists by their keys, and all else is replaced.

    A key whose value is null goes, and so does an item of a list that says `$patch: delete`.
    """
    if isinstance(patch, Mapping):
        merged = {
            key: patched(document.get(key, type(value)()), value, key)
            for key, value in patch.items()
            if value is not None
        }
        return {key: value for key, value in {**document, **merged}.items() if patch.get(key, value) is not None}
    if isinstance(patch, list) and name in MERGED_BY:
        key = MERGED_BY[name]
        items = {item[key]: item for item in document}
        for item in patch:
            if item.get("$patch") == "delete":
                del items[item[key]]
            else:
                items[item[key]] = patched(items.get(item[key], {}), item)
        return list(items.values())
    return patch
