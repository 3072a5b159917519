"""From a snapshot of an Envoy's configuration to the model that the rules look at; what cannot be judged is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.doctor.envoy.model import KNOWN_FILTERS, EnvoyModel, Hcm, HttpFilter, Route, Tunnel, first_check
from authz.doctor.envoy.snapshot import Snapshot, from_elsewhere
from authz.doctor.service_settings import Ours
from authz.doctor.tree import ABSENT, Node

_CONDITIONAL: Final = frozenset({"ExtensionWithMatcher", "ExtensionWithMatcherPerRoute"})


def read_model(snapshot: Snapshot, ours: Ours | None = None, identity: tuple[str, ...] = ()) -> EnvoyModel:
    """The model of a snapshot; what it cannot judge is named there."""
    made = EnvoyModel(snapshot, ours, identity)
    for listener in snapshot.listeners:
        chains = [*listener.at("filter_chains").items, listener.at("default_filter_chain")]
        if listener.at("fcds_config") or listener.at("api_listener"):
            snapshot.unknown(listener, "filter chains that come from elsewhere, or an API listener")
        for chain in filter(None, chains):
            _read_chain(made, listener, chain)
    for cluster in snapshot.clusters.values():
        _read_cluster(snapshot, cluster)
    _name_unknown_ways(made)
    return made


_OPTIONS: Final = "typed_extension_protocol_options"


def _read_cluster(snapshot: Snapshot, cluster: Node) -> None:
    """Name a cluster's own filters: they change requests behind everything that is judged here."""
    for options in (cluster.at(_OPTIONS).fields or {}).values():
        for each in read_filters(snapshot, options.at("http_filters")):
            if each.kind != "upstream_codec":
                snapshot.unknown(each.node, f"a filter {each.kind or each.name} of a cluster")


def _name_unknown_ways(made: EnvoyModel) -> None:
    """Name the unchecked ways that may or may not lead to an application that is guarded."""
    ways = [route.cluster for hcm in made.hcms if hcm.check is None for route in hcm.routes]
    ways += [cluster for tunnel in made.tunnels for cluster in tunnel.clusters]
    for cluster in ways if made.guarded else ():
        if not made.addresses(cluster.text) and not made.is_guarded(cluster.text):
            made.snapshot.unknown(cluster, f"an unchecked way to {cluster.text}, whose addresses are not known")


_HARMLESS: Final = frozenset(
    {
        "ConnectionLimit",
        "LocalRateLimit",
        "RateLimit",
        "RBAC",
        "ExtAuthz",
        "GeoipFilter",
        "SniCluster",
        "SetFilterState",
    }
)
"""Network filters that end nothing and lead nowhere."""


def _read_chain(made: EnvoyModel, listener: Node, chain: Node) -> None:
    tls = _tls_of(made.snapshot, chain)
    for network in chain.at("filters").items:
        config = network.at("typed_config")
        kind = config.inner_type()
        if kind == "HttpConnectionManager":
            made.hcms.append(_read_hcm(made, listener, chain, tls, config.unwrapped()))
        elif kind == "TcpProxy":
            made.tunnels.append(Tunnel(network, tuple(_tcp_clusters(config.unwrapped()))))
        elif kind not in _HARMLESS:
            made.snapshot.unknown(network, f"a network filter {kind or network.at('name').text}")


_TLS: Final = {
    "DownstreamTlsContext": "",
    "QuicDownstreamTransport": "downstream_tls_context",
    "StartTlsConfig": "tls_socket_config",
}


def _tls_of(snapshot: Snapshot, chain: Node) -> Node:
    config = chain.at("transport_socket.typed_config").unwrapped()
    kind = chain.at("transport_socket.typed_config").inner_type()
    if not chain.at("transport_socket") or kind == "RawBuffer":
        return ABSENT
    if kind in {"ProxyProtocolUpstreamTransport", "Tap"}:
        config, kind = config.at("transport_socket.typed_config"), "DownstreamTlsContext"
    if kind not in _TLS:
        snapshot.unknown(chain.at("transport_socket"), f"a transport socket {kind}")
        return ABSENT
    return config.at(_TLS[kind]) if _TLS[kind] else config


def _tcp_clusters(config: Node) -> Iterator[Node]:
    if config.at("cluster"):
        yield config.at("cluster")
    for each in config.at("weighted_clusters.clusters").items:
        yield each.at("name")


def _read_hcm(made: EnvoyModel, listener: Node, chain: Node, tls: Node, config: Node) -> Hcm:
    filters = tuple(read_filters(made.snapshot, config.at("http_filters")))
    configurations = list(_route_configurations(made.snapshot, config))
    routes = tuple(route for each in configurations for route in _routes(made.snapshot, each))
    check = first_check(filters)
    before = filters if check is None else filters[: filters.index(check)]
    mutations = [*_early_mutations(config), *_filter_mutations(before)]
    for each in before if check else ():
        if each.kind not in KNOWN_FILTERS:
            made.snapshot.unknown(each.node, f"a filter {each.kind or each.name} before the check")
    return Hcm(config, listener, chain, tls, filters, routes, tuple(mutations))


def read_filters(snapshot: Snapshot, nodes: Node) -> Iterator[HttpFilter]:
    """The HTTP filters of a list, in order."""
    for node in nodes.items:
        config = node.at("typed_config")
        conditional = config.type in _CONDITIONAL
        if conditional:
            config = config.at("extension_config.typed_config")
        if node.at("config_discovery"):
            config = node.at("config_discovery.default_config")
            snapshot.unknown(node, f"the filter {node.at('name').text} comes from elsewhere (ECDS)")
        name = node.at("name").text
        yield HttpFilter(node, name, config.package or name.rpartition(".")[2], config.unwrapped(), conditional)


def _route_configurations(snapshot: Snapshot, config: Node) -> Iterator[Node]:
    if inline := config.at("route_config"):
        yield inline
    if rds := config.at("rds"):
        yield from _by_name(snapshot, rds, rds.at("route_config_name").text)
    if scoped := config.at("scoped_routes"):
        yield from _scoped(snapshot, scoped)


def _by_name(snapshot: Snapshot, node: Node, name: str) -> Iterator[Node]:
    configuration = snapshot.routes.get(name)
    if configuration is None:
        from_elsewhere(snapshot, node, f"the route configuration {name}")
    else:
        yield configuration


def _scoped(snapshot: Snapshot, node: Node) -> Iterator[Node]:
    scopes = [*node.at("scoped_route_configurations_list.scoped_route_configurations").items]
    scopes += snapshot.scoped_routes.get(node.at("name").text, [])
    if node.at("scoped_rds"):
        scopes += snapshot.scoped_routes.get("", [])
    if not scopes:
        from_elsewhere(snapshot, node, "the set of scoped routes")
    for scope in scopes:
        if inline := scope.at("route_configuration"):
            yield inline
        else:
            yield from _by_name(snapshot, scope, scope.at("route_configuration_name").text)


def _routes(snapshot: Snapshot, configuration: Node) -> Iterator[Route]:
    if configuration.at("vhds"):
        snapshot.unknown(configuration.at("vhds"), "virtual hosts that come from elsewhere (VHDS)")
    for host in configuration.at("virtual_hosts").items:
        if host.at("matcher"):
            snapshot.unknown(host.at("matcher"), "routes that a matcher tree chooses")
        for route in host.at("routes").items:
            yield from _ways(snapshot, route, (route, host, configuration))


def _ways(snapshot: Snapshot, route: Node, levels: tuple[Node, ...]) -> Iterator[Route]:
    action = route.at("route")
    if action.at("cluster"):
        yield Route(route, levels, action.at("cluster"))
    for each in action.at("weighted_clusters.clusters").items:
        yield Route(route, (each, *levels), each.at("name") or each.at("cluster_header"))
    if action.at("cluster_header"):
        yield Route(route, levels, action.at("cluster_header"))
    if (
        action.at("cluster_specifier_plugin")
        or action.at("inline_cluster_specifier_plugin")
        or route.at("filter_action")
    ):
        snapshot.unknown(route, "a route whose cluster a plug-in chooses")


def _early_mutations(config: Node) -> Iterator[Node]:
    for each in config.at("early_header_mutation_extensions").items:
        yield from each.at("typed_config").unwrapped().at("mutations").items


def _filter_mutations(filters: tuple[HttpFilter, ...]) -> Iterator[Node]:
    for each in filters:
        if each.kind == "header_mutation" and not each.conditional and not each.disabled:
            yield from each.config.at("mutations.request_mutations").items
