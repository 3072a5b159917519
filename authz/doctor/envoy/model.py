"""What of an Envoy's configuration the rules look at: who listens, which filters in which order, who is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from authz.doctor.addresses import canonical, is_local
from authz.doctor.envoy.snapshot import Snapshot, from_elsewhere
from authz.doctor.ours import Ours
from authz.doctor.tree import ABSENT, Node

CHECK: Final = "ext_authz"
"""The extension that asks."""

_CONDITIONAL: Final = frozenset({"ExtensionWithMatcher", "ExtensionWithMatcherPerRoute"})

Removed = Callable[[str], bool]


@dataclass(frozen=True)
class Filter:
    """An HTTP filter: as it stands in the list, its extension, its message, whether a matcher decides if it runs."""

    node: Node
    name: str
    kind: str
    config: Node
    conditional: bool = False

    @property
    def disabled(self) -> bool:
        """Whether it runs only where a route says so."""
        return self.node.at("disabled").flag()


@dataclass(frozen=True)
class Route:
    """A way to clusters: the route, and what its configuration and virtual host say besides."""

    node: Node
    levels: tuple[Node, ...]
    """The weighted cluster if any, the route, its virtual host, its route configuration: the nearest first."""

    cluster: Node
    """The scalar that names the cluster."""

    @property
    def action(self) -> Node:
        """What it does with the request."""
        return self.node.at("route")

    @property
    def everything(self) -> bool:
        """Whether it matches every request."""
        match = self.node.at("match")
        return match.at("prefix").text == "/" and set(match.fields or {}) <= {"prefix"}

    @property
    def exact(self) -> bool:
        """Whether it matches one path."""
        return bool(self.node.at("match.path"))


@dataclass(frozen=True)
class Hcm:
    """An HTTP connection manager: its filters in order, and where its routes lead."""

    node: Node
    listener: Node
    chain: Node
    tls: Node
    filters: tuple[Filter, ...]
    routes: tuple[Route, ...]
    mutations: tuple[Node, ...] = ()
    """The mutations of headers that run before the check."""

    @cached_property
    def check(self) -> Filter | None:
        """The filter that asks, if one is there: one that is switched on, if there are several."""
        return first_check(self.filters)

    @property
    def before(self) -> tuple[Filter, ...]:
        """The filters that run before it asks; all, if it does not."""
        place = len(self.filters) if self.check is None else self.filters.index(self.check)
        return self.filters[:place]

    def removed(self, header: str) -> bool:
        """Whether a client's own header of this name is gone before the check."""
        return any(_removes(mutation, header.lower()) for mutation in self.mutations)

    @property
    def early(self) -> Node:
        """Where removals of headers stand, or belong."""
        return self.node.at("early_header_mutation_extensions")


@dataclass(frozen=True)
class Tunnel:
    """A filter chain that hands bytes on without looking at requests."""

    node: Node
    clusters: tuple[Node, ...]


@dataclass
class EnvoyModel:
    """The whole; `ours` are the service's own settings, if they were given."""

    snapshot: Snapshot
    ours: Ours | None = None
    identity: tuple[str, ...] = ()
    hcms: list[Hcm] = field(default_factory=list)
    tunnels: list[Tunnel] = field(default_factory=list)

    @cached_property
    def checked(self) -> list[Hcm]:
        """Those that ask."""
        return [hcm for hcm in self.hcms if hcm.check is not None]

    @cached_property
    def guarded(self) -> frozenset[str]:
        """The clusters that somebody asks before, and every address of theirs."""
        names = {route.cluster.text for hcm in self.checked for route in hcm.routes}
        asked = {service_cluster(hcm.check) for hcm in self.checked if hcm.check}
        return frozenset({one for name in names - asked for one in (name, *self.addresses(name))})

    def is_guarded(self, cluster: str) -> bool:
        """Whether it is one of them, by its name or by where it leads."""
        return not self.guarded.isdisjoint({cluster, *self.addresses(cluster)})

    def addresses(self, cluster: str) -> tuple[str, ...]:
        """Where a cluster leads: `host:port`, or a socket's path."""
        return tuple(map(address_text, endpoints(self.snapshot.clusters.get(cluster, ABSENT))))

    def validation(self, tls: Node) -> Node:
        """The validation context of a TLS context, from a secret too; absent when none is told."""
        common = tls.at("common_tls_context")
        combined = common.at("combined_validation_context")
        inline = common.at("validation_context") or combined.at("default_validation_context")
        sds = common.at("validation_context_sds_secret_config") or combined.at("validation_context_sds_secret_config")
        secret = self.snapshot.secrets.get(sds.at("name").text, ABSENT).at("validation_context")
        return secret or inline or sds

    def asks_for_certificate(self, hcm: Hcm) -> bool:
        """Whether Envoy asks the client for a certificate; a secret that was not given counts as if it did."""
        context = self.validation(hcm.tls)
        if context.at("sds_config") or context.at("name"):
            return True
        holds = ("trusted_ca", "verify_certificate_hash", "verify_certificate_spki", "ca_certificate_provider_instance")
        return any(map(context.at, holds)) or untrusted(context)


def untrusted(context: Node) -> bool:
    """Whether a validation context takes certificates that do not verify."""
    return context.at("trust_chain_verification").choice("VERIFY_TRUST_CHAIN", "ACCEPT_UNTRUSTED") == "ACCEPT_UNTRUSTED"


def endpoints(cluster: Node) -> Iterator[Node]:
    """The addresses of a cluster."""
    for locality in cluster.at("load_assignment.endpoints").items:
        for endpoint in locality.at("lb_endpoints").items:
            yield endpoint.at("endpoint.address")


def address_text(address: Node) -> str:
    """An address as `host:port`, `unix:/path` or `internal:listener`."""
    if path := address.at("pipe.path").text:
        return f"unix:{path}"
    if internal := address.at("envoy_internal_address.server_listener_name").text:
        return f"internal:{internal}"
    place = address.at("socket_address")
    return canonical(f"{place.at('address').text}:{place.at('port_value').text}")


def local(address: Node) -> bool:
    """Whether only this machine reaches an endpoint, or a listener listens for it alone."""
    return address.at("socket_address.address").text not in {"0.0.0.0", "::"} and is_local(address_text(address))  # noqa: S104


def service_cluster(check: Filter | None) -> str:
    """The cluster in which the check asks."""
    if check is None:
        return ""
    config = check.config
    grpc = config.at("grpc_service.envoy_grpc.cluster_name").text
    return config.at("http_service.server_uri.cluster").text or grpc


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
    """Name the unchecked ways of which cannot be told whether they lead to an application that is guarded."""
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


def first_check(filters: tuple[Filter, ...]) -> Filter | None:
    """The filter that asks: the first that is switched on, else the first."""
    checks = [each for each in filters if each.kind == CHECK]
    return next((each for each in checks if not each.disabled), checks[0] if checks else None)


CODE: Final = frozenset({"lua", "wasm", "ext_proc", "golang", "dynamic_modules", "proto_message_extraction"})
"""Filters that run the operator's own code: what they do does not stand in the configuration."""

CACHES: Final = frozenset({"cache", "cache_v2"})

KNOWN_FILTERS: Final = (
    CODE
    | CACHES
    | {
        *("adaptive_concurrency", "admission_control", "api_key_auth", "bandwidth_limit", "basic_auth", "buffer"),
        *("compressor", "connect_grpc_bridge", "cors", "credential_injector", "csrf", "custom_response"),
        *("decompressor", "dynamic_forward_proxy", CHECK, "fault", "geoip", "grpc_field_extraction"),
        *("grpc_http1_bridge", "grpc_json_transcoder", "grpc_stats", "grpc_web", "header_mutation"),
        *("header_to_metadata", "health_check", "ip_tagging", "json_to_metadata", "jwt_authn", "kill_request"),
        *("local_ratelimit", "oauth2", "on_demand", "original_src", "rate_limit_quota", "ratelimit", "rbac", "router"),
        *("set_filter_state", "set_metadata", "stateful_session", "tap", "thrift_to_metadata"),
    }
)
"""Filters before the check of which it is known whether they get a request past it."""


def read_filters(snapshot: Snapshot, nodes: Node) -> Iterator[Filter]:
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
        yield Filter(node, name, config.package or name.rpartition(".")[2], config.unwrapped(), conditional)


def _route_configurations(snapshot: Snapshot, config: Node) -> Iterator[Node]:
    if inline := config.at("route_config"):
        yield inline
    if rds := config.at("rds"):
        yield from _by_name(snapshot, rds, rds.at("route_config_name").text)
    if scoped := config.at("scoped_routes"):
        yield from _scoped(snapshot, scoped)


def _by_name(snapshot: Snapshot, node: Node, name: str) -> Iterator[Node]:
    found = snapshot.routes.get(name)
    if found is None:
        from_elsewhere(snapshot, node, f"the route configuration {name}")
    else:
        yield found


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


def _filter_mutations(filters: tuple[Filter, ...]) -> Iterator[Node]:
    for each in filters:
        if each.kind == "header_mutation" and not each.conditional and not each.disabled:
            yield from each.config.at("mutations.request_mutations").items


def _removes(mutation: Node, header: str) -> bool:
    if mutation.at("remove").text.lower() == header:
        return True
    matcher = mutation.at("remove_on_match.key_matcher")
    return bool(matcher) and matches(matcher, header)


def matches(matcher: Node, text: str) -> bool:
    """Whether a StringMatcher takes a text; a regular expression counts as one that does not."""
    fold = str.lower if matcher.at("ignore_case").flag() else str
    return any(test(fold(text), fold(matcher.at(kind).text)) for kind, test in _MATCHES.items() if matcher.at(kind))


_MATCHES: Final[dict[str, Callable[[str, str], bool]]] = {
    "exact": str.__eq__,
    "prefix": str.startswith,
    "suffix": str.endswith,
    "contains": str.__contains__,
}
"""The kinds of a StringMatcher, but for regular expressions."""
