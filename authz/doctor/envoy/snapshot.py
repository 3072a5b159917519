"""Everything that was given of an Envoy's configuration, whatever file or dump it came in, by kind and name.

Taken are a bootstrap, a part of one (`clusters:`, `listeners:`), resources as xDS files hold them, and `/config_dump`.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from authz.doctor.findings import ConfigFile, NotUnderstood, Unreadable
from authz.doctor.tree import ABSENT, Node, read_tree

MAX_DUMP: Final = 64 * 1024 * 1024
"""Bytes of a dump that are read: one listener makes 85 KB."""

ADMIN_SECONDS: Final = 10


@dataclass
class Snapshot:
    """The resources, and what could not be resolved."""

    bootstrap: Node = ABSENT
    listeners: list[Node] = field(default_factory=list)
    clusters: dict[str, Node] = field(default_factory=dict)
    routes: dict[str, Node] = field(default_factory=dict)
    scoped_routes: dict[str, list[Node]] = field(default_factory=dict)
    secrets: dict[str, Node] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    dumped: bool = False
    not_understood: list[NotUnderstood] = field(default_factory=list)

    def unknown(self, node: Node, what: str) -> None:
        """Name something that no rule can judge."""
        entry = NotUnderstood(node.source.name, node.line, what)
        if entry not in self.not_understood:
            self.not_understood.append(entry)


def snapshot_of(sources: Iterable[ConfigFile]) -> Snapshot:
    """What the texts hold together. Raises `Unreadable`."""
    made = Snapshot()
    for source in sources:
        made.files.add(PurePath(source.name).name)
        _take_document(made, read_tree(source, made.not_understood))
    _follow(made)
    return made


def config_dump(url: str) -> ConfigFile:
    """The `/config_dump` of a running Envoy's admin address, laid out so that it has lines. Raises `Unreadable`."""
    if not url.startswith(("http://", "https://")):
        raise Unreadable(f"{url}: an http:// address of Envoy's admin interface is wanted")
    address = url.rstrip("/") + "/config_dump"
    try:
        with urllib.request.urlopen(address, timeout=ADMIN_SECONDS) as answer:  # noqa: S310 - checked above
            data = answer.read(MAX_DUMP + 1)
        if len(data) > MAX_DUMP:
            raise Unreadable(f"{address}: more than {MAX_DUMP} bytes")
        return ConfigFile(address, json.dumps(json.loads(data), indent=1))
    except (OSError, ValueError, RecursionError) as error:
        raise Unreadable(f"{address}: {error}") from error


def _take_document(made: Snapshot, root: Node) -> None:
    fields = root.fields or {}
    if root.at("static_resources") or root.at("dynamic_resources"):
        _take_bootstrap(made, root)
    elif root.at("configs"):
        made.dumped = True
        for config in root.at("configs").items:
            _take_dump(made, config)
    elif root.at("resources"):
        for resource in root.at("resources").items:
            _take_resource(made, resource)
    elif fields and set(fields) <= {"clusters", "listeners", "secrets"}:
        _take_static(made, root)
    elif root.type in _RESOURCES:
        _take_resource(made, root)
    else:
        made.unknown(root, "neither a bootstrap of Envoy, nor a part of one, nor resources, nor a config_dump")


def _take_bootstrap(made: Snapshot, root: Node) -> None:
    if made.bootstrap:
        made.unknown(root, "a second bootstrap: give the files of one Envoy at a time")
    made.bootstrap = root
    _take_static(made, root.at("static_resources"))


def _take_static(made: Snapshot, static: Node) -> None:
    for kind, take in (("listeners", _listener), ("clusters", _cluster), ("secrets", _secret)):
        for resource in static.at(kind).items:
            take(made, resource)


def _listener(made: Snapshot, node: Node) -> None:
    made.listeners.append(node)


def _cluster(made: Snapshot, node: Node) -> None:
    made.clusters[node.at("name").text] = node


def _secret(made: Snapshot, node: Node) -> None:
    made.secrets[node.at("name").text] = node


def _route(made: Snapshot, node: Node) -> None:
    made.routes[node.at("name").text] = node


def _scope(made: Snapshot, node: Node) -> None:
    made.scoped_routes.setdefault("", []).append(node)


def _nothing(_made: Snapshot, _node: Node) -> None:
    """Endpoints and runtime layers change nothing that a rule looks at."""


_RESOURCES: Final[dict[str, Callable[[Snapshot, Node], None]]] = {
    "Listener": _listener,
    "Cluster": _cluster,
    "RouteConfiguration": _route,
    "ScopedRouteConfiguration": _scope,
    "Secret": _secret,
    "ClusterLoadAssignment": _nothing,
}


def _take_resource(made: Snapshot, node: Node) -> None:
    resource = node.at("resource") if node.type == "Resource" else node
    take = _RESOURCES.get(resource.inner_type())
    if take is None:
        made.unknown(node, f"a resource of type {resource.type or 'unknown'}")
        return
    take(made, resource.unwrapped())


_DUMPED: Final = {
    "ListenersConfigDump": (_listener, {"static_listeners": "listener", "dynamic_listeners": "active_state.listener"}),
    "ClustersConfigDump": (_cluster, {"static_clusters": "cluster", "dynamic_active_clusters": "cluster"}),
    "RoutesConfigDump": (_route, {"static_route_configs": "route_config", "dynamic_route_configs": "route_config"}),
    "SecretsConfigDump": (_secret, {"static_secrets": "secret", "dynamic_active_secrets": "secret"}),
}
"""Where a section of the dump keeps its resources (envoy.admin.v3)."""

_PASSED_OVER: Final = frozenset({"EndpointsConfigDump", "EcdsConfigDump"})
"""Sections that hold no rule's matter: a filter by ECDS is named where a listener has it."""


def _take_dump(made: Snapshot, section: Node) -> None:
    if section.type == "BootstrapConfigDump":
        made.bootstrap = section.at("bootstrap")
    elif section.type == "ScopedRoutesConfigDump":
        _take_scoped(made, section)
    elif section.type in _DUMPED:
        take, paths = _DUMPED[section.type]
        for entries, path in paths.items():
            for node in filter(None, (entry.at(path) for entry in section.at(entries).items)):
                take(made, node)
    elif section.type not in _PASSED_OVER:
        made.unknown(section, f"a section {section.type or 'without a type'} of the dump")


def _take_scoped(made: Snapshot, section: Node) -> None:
    for entries in ("inline_scoped_route_configs", "dynamic_scoped_route_configs"):
        for entry in section.at(entries).items:
            made.scoped_routes.setdefault(entry.at("name").text, []).extend(entry.at("scoped_route_configs").items)


def _follow(made: Snapshot) -> None:
    """Name what the bootstrap takes from elsewhere and was not given."""
    dynamic = made.bootstrap.at("dynamic_resources")
    for name, known in (("lds_config", made.listeners), ("cds_config", made.clusters)):
        config = dynamic.at(name)
        if config and not made.dumped and not _given(made, config):
            made.unknown(config, f"{name}: {'more ' if known else ''}resources that come from elsewhere: {_ADVICE}")
    for layer in made.bootstrap.at("layered_runtime.layers").items:
        if layer.at("rtds_layer") or layer.at("disk_layer"):
            made.unknown(layer, "runtime values that come from elsewhere may switch a filter off")


_ADVICE: Final = "give the file, or ask the running Envoy with --admin"


def _given(made: Snapshot, config: Node) -> bool:
    path = config.at("path_config_source.path").text or config.at("path").text
    return PurePath(path).name in made.files


def from_elsewhere(made: Snapshot, node: Node, what: str) -> None:
    """Name a resource that a listener asks for and that was not given."""
    made.unknown(node, f"{what} was not given: {_ADVICE}")
