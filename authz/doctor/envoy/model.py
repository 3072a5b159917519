"""What of an Envoy's configuration the rules look at: who listens, which filters in which order, who is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from authz.doctor.addresses import canonical, is_local
from authz.doctor.envoy.snapshot import Snapshot
from authz.doctor.findings import Edit, Hit
from authz.doctor.service_settings import Ours
from authz.doctor.tree import ABSENT, Node

CHECK: Final = "ext_authz"
"""The extension that asks."""

_EARLY: Final = "early_header_mutation.header_mutation"
_EARLY_TYPE: Final = f"type.googleapis.com/envoy.extensions.http.{_EARLY}.v3.HeaderMutation"


@dataclass(frozen=True)
class HttpFilter:
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
    filters: tuple[HttpFilter, ...]
    routes: tuple[Route, ...]
    mutations: tuple[Node, ...] = ()
    """The mutations of headers that run before the check."""

    @cached_property
    def check(self) -> HttpFilter | None:
        """The filter that asks, if one is there: one that is switched on, if there are several."""
        return first_check(self.filters)

    @property
    def before(self) -> tuple[HttpFilter, ...]:
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

    def remove_early(self, *headers: str | Node) -> tuple[Edit, ...]:
        """The edit after which a client's headers, by name or by pattern, are gone before any filter runs."""
        mutations = [_mutation(header) for header in headers]
        for extension in self.early.items:
            if existing := extension.at("typed_config.mutations"):
                return tuple(edit for mutation in mutations for edit in existing.append(mutation))
        config = {"@type": _EARLY_TYPE, "mutations": mutations}
        return self.node.put(
            "early_header_mutation_extensions", [{"name": f"envoy.http.{_EARLY}", "typed_config": config}]
        )


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
        return frozenset({place for name in names - asked for place in (name, *self.addresses(name))})

    def is_guarded(self, cluster: str) -> bool:
        """Whether it is one of them, by its name or by where it leads."""
        return not self.guarded.isdisjoint({cluster, *self.addresses(cluster)})

    def addresses(self, cluster: str) -> tuple[str, ...]:
        """Where a cluster leads: `host:port`, or a socket's path."""
        return tuple(map(address_text, endpoints(self.snapshot.clusters.get(cluster, ABSENT))))

    def validation(self, tls: Node) -> Node:
        """The validation context of a TLS context, from a secret too; absent when none is given."""
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


def hit(node: Node, what: str, mend: str, edits: tuple[Edit, ...] = ()) -> Hit:
    """A hit at the place of a node."""
    return Hit(node.source, node.line, what, mend, edits)


def name_of(node: Node) -> str:
    """A listener, cluster or virtual host by its name, or what stands for one."""
    return node.at("name").text or "without a name"


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


def service_cluster(check: HttpFilter | None) -> str:
    """The cluster in which the check asks."""
    if check is None:
        return ""
    config = check.config
    grpc = config.at("grpc_service.envoy_grpc.cluster_name").text
    return config.at("http_service.server_uri.cluster").text or grpc


def first_check(filters: tuple[HttpFilter, ...]) -> HttpFilter | None:
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


def _mutation(header: str | Node) -> dict[str, object]:
    if isinstance(header, str):
        return {"remove": header}
    return (
        {"remove": header.at("exact").text}
        if header.at("exact")
        else {"remove_on_match": {"key_matcher": header.value()}}
    )


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
