"""Rules over routes: which of them are asked about, and what a client can choose by what it writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from authz.doctor.envoy.identity_rules import identity_headers
from authz.doctor.envoy.model import CHECK, EnvoyModel, Hcm, Route, hit, service_cluster
from authz.doctor.findings import Hit, Rule, Severity, rule
from authz.doctor.tree import ABSENT, Node

_PER_FILTER: Final = "typed_per_filter_config"


def _ways(model: EnvoyModel) -> Iterator[tuple[Hcm, Route]]:
    """Every route of those that ask."""
    for hcm in model.checked:
        for route in hcm.routes:
            yield hcm, route


def overrides(hcm: Hcm, route: Route) -> Iterator[Node]:
    """What the levels of a route say of the check, the nearest first: under its name, or by its type."""
    names = {each.name for each in hcm.filters if each.kind == CHECK}
    for level in route.levels:
        for key, node in (level.at(_PER_FILTER).fields or {}).items():
            packages = {node.package, node.at("config").package}
            if key in names or CHECK in packages or CHECK in key.split("."):
                yield node


def _switched_off(hcm: Hcm, route: Route) -> Node:
    """What switches the check off for a route: the nearest level of each of the two ways decides."""
    nodes = list(overrides(hcm, route))
    wrapped = [node for node in nodes if node.type == "FilterConfig"]
    plain = [node.at("config") if node.type == "FilterConfig" else node for node in nodes]
    for nodes in (wrapped, [node for node in plain if node]):
        if nodes and nodes[0].unwrapped().at("disabled").flag():
            return nodes[0].unwrapped()
    return ABSENT


def _off(model: EnvoyModel, *, exact: bool) -> Iterator[Hit]:
    for hcm, route in _ways(model):
        node = _switched_off(hcm, route)
        if node and route.exact is exact and route.cluster.text != service_cluster(hcm.check):
            what = f"requests for {_matched(route)} go to {route.cluster.text} unchecked"
            yield hit(node.at("disabled"), what, "ask about them", node.put("disabled", False))


def _matched(route: Route) -> str:
    match = route.node.at("match")
    kinds = ("prefix", "path", "path_separated_prefix", "safe_regex.regex", "path_match_policy.name")
    return next((match.at(kind).text for kind in kinds if match.at(kind).text), "some paths")


@rule(
    "envoy-route-unchecked",
    Severity.FATAL,
    "typed_per_filter_config by filter name or type, ExtAuthzPerRoute.disabled, FilterConfig.disabled",
)
def _route_open(model: EnvoyModel) -> Iterator[Hit]:
    """the check is switched off for paths that lead to an application.

    A prefix or pattern takes more than it says: /health also /healthz and /health%2f..%2fadmin. Unchecked requests keep
    the identity headers that the client wrote.
    """
    yield from _off(model, exact=False)


@rule("envoy-path-unchecked", Severity.WARNING, "typed_per_filter_config on a route with match.path")
def _path_open(model: EnvoyModel) -> Iterator[Hit]:
    """the check is switched off for one path that leads to an application.

    For that path the application believes the identity headers that the client wrote.
    """
    yield from _off(model, exact=True)


@rule(
    "envoy-route-checked-elsewhere",
    Severity.WARNING,
    "ExtAuthzPerRoute.check_settings.http_service, grpc_service (Envoy 1.40)",
)
def _asks_elsewhere(model: EnvoyModel) -> Iterator[Hit]:
    """a route asks another service.

    What that one allows is served, with its identity headers; no rule here looked at it.
    """
    for hcm, route in _ways(model):
        for node in overrides(hcm, route):
            settings = (node.at("config") or node).unwrapped().at("check_settings")
            for kind in ("http_service", "grpc_service"):
                if settings.at(kind):
                    yield hit(settings.at(kind), f"{_matched(route)} is asked about elsewhere", "ask in one place")


@rule("envoy-cluster-from-client", Severity.FATAL, "RouteAction.cluster_header")
def _cluster_header(model: EnvoyModel) -> Iterator[Hit]:
    """a header names the cluster that a request goes to.

    The client picks any cluster that Envoy knows, the service itself and other tenants' among them.
    """
    for route in (route for hcm in model.hcms for route in hcm.routes):
        action = route.action.at("cluster_header")
        weighted = route.levels[0].at("cluster_header")
        if node := action or weighted:
            yield hit(node, f"the header {node.text} names the cluster", "name the cluster in the route")


@rule("envoy-host-from-client", Severity.FATAL, "RouteAction.host_rewrite_header")
def _host_header(model: EnvoyModel) -> Iterator[Hit]:
    """a header becomes the Host that the application sees.

    The service judged another host: the application may serve another organization.
    """
    for _, route in _ways(model):
        header, path = route.action.at("host_rewrite_header"), route.action.at("host_rewrite_path_regex")
        if node := header or path:
            what = f"{f'the header {header.text}' if header else 'a part of the path'} becomes the application's Host"
            yield hit(node, what, "hand the Host on that the service judged")


@rule(
    "envoy-connect-tunnel",
    Severity.FATAL,
    "RouteAction.UpgradeConfig.connect_config",
    proof="this service refuses CONNECT (request_malformed), so that the tests have no tunnel to show",
)
def _connect(model: EnvoyModel) -> Iterator[Hit]:
    """CONNECT is ended here, and opens a tunnel to an application.

    What the client sends through it is not checked, identity headers among it. This service refuses CONNECT; others may
    not.
    """
    for _, route in _ways(model):
        for upgrade in route.action.at("upgrade_configs").items:
            if upgrade.at("connect_config") and upgrade.at("enabled").flag(default=True):
                what = f"one CONNECT that is allowed opens a tunnel to {route.cluster.text}"
                yield hit(upgrade, what, "end no CONNECT here", upgrade.put("enabled", False))


@rule("envoy-route-by-identity", Severity.FATAL, "RouteMatch.headers; ext_authz clear_route_cache")
def _by_identity(model: EnvoyModel) -> Iterator[Hit]:
    """a route is chosen by an identity header that the client can write.

    Routes are picked before the service answers: the client's own header decides.
    """
    for hcm, route in _ways(model):
        for matcher in route.node.at("match.headers").items:
            name = matcher.at("name").text.lower()
            if name in identity_headers(model, hcm) and not hcm.removed(name):
                what = f"a route is chosen by {name} as the client wrote it"
                yield hit(matcher, what, "remove it early, and set clear_route_cache", hcm.remove_early(name))


@rule(
    "envoy-route-by-validation",
    Severity.WARNING,
    "RouteMatch.TlsContextMatchOptions; envoyproxy/envoy#21235, seen with TLS 1.2 and 1.3",
)
def _validated(model: EnvoyModel) -> Iterator[Hit]:
    """a route is chosen by whether Envoy validated a certificate.

    On every resumed session it says no, even of a good certificate.
    """
    for _, route in _ways(model):
        node = route.node.at("match.tls_context.validated") or route.node.at("match.tls_context.presented")
        if node:
            yield hit(node, "a route is chosen by whether Envoy validated the certificate", "leave it to the service")


@rule(
    "envoy-paths-ambiguous",
    Severity.WARNING,
    "HttpConnectionManager: normalize_path, merge_slashes, path_with_escaped_slashes_action",
)
def _ambiguous_paths(model: EnvoyModel) -> Iterator[Hit]:
    """paths choose between rules, and are not normalized.

    /open/../closed, //closed and /open%2f..%2fclosed are one thing to a rule and another to the application.
    """
    for hcm in model.checked:
        if len({route.cluster.text for route in hcm.routes}) < 2 and not _any_override(hcm):
            continue
        for field, good in _NORMAL.items():
            if not good(hcm.node.at(field)):
                value = "REJECT_REQUEST" if "escaped" in field else True
                what = f"paths choose between rules, and {field} does not make them one thing"
                yield hit(hcm.node.at(field) or hcm.node, what, f"set {field}", hcm.node.put(field, value))


_NORMAL: Final[dict[str, Callable[[Node], bool]]] = {
    "normalize_path": lambda node: node.flag(),
    "merge_slashes": lambda node: node.flag(),
    "path_with_escaped_slashes_action": lambda node: (
        node.text in {"2", "3", "4"} or "UNESCAPE" in node.text or "REJECT" in node.text
    ),
}


def _any_override(hcm: Hcm) -> bool:
    return any(True for route in hcm.routes for _ in overrides(hcm, route))


ROUTE_RULES: Final[tuple[Rule[EnvoyModel], ...]] = (
    _route_open, _path_open, _asks_elsewhere, _cluster_header, _host_header, _connect, _by_identity, _validated,
    _ambiguous_paths,
)  # fmt: skip
