"""The manifests of deploy/: every object, and who judges it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
FOLDERS = ("kubernetes", "istio", "envoy-gateway")

CORE = frozenset({"v1", "apps/v1", "policy/v1", "networking.k8s.io/v1"})
"""API versions that `kubernetes-validate` judges; the models of tests/manifest_models judge the others."""

Object = Mapping[str, Any]


def objects(*, core: bool | None = None) -> dict[str, Object]:
    """Every object by file, kind and name; with `core`, those that one of the validators judges."""
    found = {}
    for folder in FOLDERS:
        for path in sorted((DEPLOY / folder).glob("*.yaml")):
            if path.name == "mesh-config.yaml":  # values, no object
                continue
            for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
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
