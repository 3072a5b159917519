"""Rules over the filter that asks: whether it asks about every request, and what counts as yes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.doctor.envoy.model import CACHES, CHECK, CODE, EnvoyModel, Hcm, HttpFilter, hit, name_of, service_cluster
from authz.doctor.envoy.reading import read_filters
from authz.doctor.findings import Edit, Hit, Rule, Severity, rule
from authz.doctor.tree import Node

_FIELD: Final = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"

_DENOMINATORS: Final = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


def checks(model: EnvoyModel) -> Iterator[tuple[Hcm, HttpFilter]]:
    """Every filter that asks, with its connection manager."""
    for hcm in model.hcms:
        for each in hcm.filters:
            if each.kind == CHECK:
                yield hcm, each


@rule("envoy-failure-mode-allow", Severity.FATAL, f"{_FIELD}, failure_mode_allow")
def _failure_mode(model: EnvoyModel) -> Iterator[Hit]:
    """ext_authz lets requests pass when the service does not answer.

    A client that brings the service down, or makes one check fail, is let in: a name in a certificate that Envoy cannot
    put into a header is enough.
    """
    for _, check in checks(model):
        allow = check.config.at("failure_mode_allow")
        if allow.flag():
            mend = check.config.put("failure_mode_allow", False)
            yield hit(allow, "a service that does not answer allows", "refuse when there is no answer", mend)


@rule("envoy-check-sampled", Severity.FATAL, f"{_FIELD}, filter_enabled")
def _sampled(model: EnvoyModel) -> Iterator[Hit]:
    """ext_authz asks about a part of the requests.

    The rest is served unchecked, with whatever identity headers the client wrote.
    """
    for _, check in checks(model):
        enabled = check.config.at("filter_enabled")
        if not enabled or check.config.at("deny_at_disable.default_value").flag():
            continue
        whole = {"numerator": 100, "denominator": "HUNDRED"}
        if _fraction(enabled.at("default_value")) < 1:
            mend = check.config.put("filter_enabled.default_value", whole)
            yield hit(enabled, "only a part of the requests is asked about", "ask about all of them", mend)
        for layer in _runtime(model, enabled.at("runtime_key").text):
            yield hit(layer, "a runtime value decides how many requests are asked about", "take the key away")


def _fraction(value: Node) -> float:
    numerator = value.at("numerator").text or "0"
    whole = _DENOMINATORS.get(value.at("denominator").choice(*_DENOMINATORS), 100)
    return int(numerator) / whole if numerator.isdecimal() else 0


def _runtime(model: EnvoyModel, key: str) -> Iterator[Node]:
    for layer in model.snapshot.bootstrap.at("layered_runtime.layers").items:
        static = layer.at("static_layer")
        if key and (settings := static.field(key) or static.at(key)):
            yield settings


@rule("envoy-check-shadow", Severity.FATAL, f"{_FIELD}, shadow_mode (Envoy 1.40)")
def _shadow(model: EnvoyModel) -> Iterator[Hit]:
    """ext_authz asks, and serves what is refused.

    In shadow mode a refusal is counted and nothing else.
    """
    for _, check in checks(model):
        shadow = check.config.at("shadow_mode")
        if shadow.flag():
            mend = check.config.put("shadow_mode", False)
            yield hit(shadow, "what the service refuses is served all the same", "let the refusal count", mend)


@rule("envoy-check-off", Severity.FATAL, "HttpFilter, disabled")
def _disabled(model: EnvoyModel) -> Iterator[Hit]:
    """ext_authz is switched off in the list of filters.

    A filter with `disabled: true` runs only for routes that switch it on; a route that is added is open.
    """
    for hcm, check in checks(model):
        if check is hcm.check and check.disabled:
            mend = check.node.put("disabled", False)
            yield hit(check.node.at("disabled"), "the filter runs only where a route says so", "switch it on", mend)


def _conditional(model: EnvoyModel) -> Iterator[Hit]:
    for _, check in checks(model):
        when = check.config.at("filter_enabled_metadata")
        if check.conditional or when:
            what = "metadata decide" if when else "a matcher decides"
            mend = check.node.put("typed_config", _plain(check))
            yield hit(when or check.node, f"{what} which requests are asked about", "ask about all of them", mend)


def _plain(check: HttpFilter) -> object:
    """The check's message without conditions."""
    value = check.config.value()
    return {key: each for key, each in value.items() if key not in {"filter_enabled_metadata", "filterEnabledMetadata"}}


def _composite(model: EnvoyModel) -> Iterator[Hit]:
    for hcm in model.hcms:
        for each in hcm.filters:
            if each.kind == "composite" and any(node.package == CHECK for node in each.node.walk()):
                yield hit(each.node, "a matcher decides which requests are asked about", "ask about all of them")


@rule("envoy-check-conditional", Severity.FATAL, f"{_FIELD}, filter_enabled_metadata; ExtensionWithMatcher")
def _conditional_all(model: EnvoyModel) -> Iterator[Hit]:
    """a matcher or metadata decide whether ext_authz asks.

    Matchers look at what the client wrote, so that the client chooses whether it is asked about.
    """
    yield from _conditional(model)
    yield from _composite(model)


@rule("envoy-cache-before-check", Severity.FATAL, "the order of http_filters; envoy.filters.http.cache of Envoy 1.40")
def _cache(model: EnvoyModel) -> Iterator[Hit]:
    """a cache stands before ext_authz.

    It fetches what it lacks by itself, past all filters behind it: no request is checked.
    """
    for hcm in model.checked:
        for each in hcm.before:
            if each.kind in CACHES and not each.disabled:
                yield hit(
                    each.node,
                    "a cache answers, and asks the application, before the check",
                    "take it out",
                    each.node.put("disabled", True),
                )


@rule("envoy-code-before-check", Severity.WARNING, "the order of http_filters")
def _code(model: EnvoyModel) -> Iterator[Hit]:
    """code of one's own runs before ext_authz.

    Lua, WebAssembly and external processors may answer by themselves, pick another route, or set the header that the
    service takes for Envoy's word.
    """
    for hcm in model.checked:
        for each in hcm.before:
            if each.kind in CODE and not each.disabled:
                what = f"{each.kind} runs before the check: it may answer, or set what the service believes"
                yield hit(each.node, what, "put it behind the check, or read it with that in mind")


@rule("envoy-upgrade-unchecked", Severity.FATAL, "HttpConnectionManager.UpgradeConfig, filters")
def _upgrade(model: EnvoyModel) -> Iterator[Hit]:
    """an upgrade has filters of its own, without ext_authz.

    upgrade_configs.filters replaces the whole list: a client that asks for the upgrade is not asked about.
    """
    for hcm in model.checked:
        for upgrade in hcm.node.at("upgrade_configs").items:
            own = upgrade.at("filters")
            if own.items and not any(each.kind == CHECK for each in read_filters(model.snapshot, own)):
                what = f"{upgrade.at('upgrade_type').text} has filters of its own, without the check"
                yield hit(upgrade, what, "take the list of filters away", upgrade.put("filters", []))


@rule("envoy-way-around", Severity.FATAL, "filter_chains, routes and clusters, by name and by address")
def _around(model: EnvoyModel) -> Iterator[Hit]:
    """another listener or filter chain leads to the same application without asking.

    The application cannot tell the two apart, and believes the identity headers that a client wrote there.
    """
    for hcm in model.hcms:
        if hcm.check is not None:
            continue
        for route in hcm.routes:
            if model.is_guarded(route.cluster.text):
                what = f"{name_of(hcm.listener)} leads to {route.cluster.text}, without a check"
                mend = "put the check before the router there too, or take the way away"
                yield hit(route.cluster, what, mend, _with_check(model, hcm))


def _with_check(model: EnvoyModel, hcm: Hcm) -> tuple[Edit, ...]:
    """The check of a listener that has one, written before the others here."""
    check = next((other.check for other in model.checked if other.check), None)
    return hcm.node.at("http_filters").append(check.node.value()) if check else ()


@rule("envoy-tunnel-around", Severity.FATAL, "envoy.filters.network.tcp_proxy")
def _tunnel(model: EnvoyModel) -> Iterator[Hit]:
    """a TCP proxy leads to the same application.

    Bytes are handed on as they come; requests and headers are not looked at.
    """
    for tunnel in model.tunnels:
        for cluster in tunnel.clusters:
            if model.is_guarded(cluster.text):
                what = f"a filter chain hands bytes on to {cluster.text} without looking at requests"
                yield hit(cluster, what, "take the filter chain away")


@rule(
    "envoy-no-check",
    Severity.FATAL,
    "http_filters; a gateway that replaces the certificate header and shows its own certificate is taken for one",
)
def _no_check(model: EnvoyModel) -> Iterator[Hit]:
    """no request is checked.

    There is no ext_authz in the whole configuration, and what stands behind shows no sign of asking itself.
    """
    if model.checked or not any(hcm.routes for hcm in model.hcms):
        return
    for hcm in model.hcms:
        for route in hcm.routes:
            if not _hands_on(model, hcm, route.cluster.text):
                what = f"requests go to {route.cluster.text}, and none is checked"
                yield hit(route.cluster, what, "put envoy.filters.http.ext_authz before the router (deploy/envoy.yaml)")


def _hands_on(model: EnvoyModel, hcm: Hcm, cluster: str) -> bool:
    """Whether it is a gateway's: the certificate header replaced, and mutual TLS to the one behind, who may ask."""
    details = hcm.node.at("forward_client_cert_details").text
    upstream = model.snapshot.clusters.get(cluster)
    tls = upstream.at("transport_socket.typed_config.common_tls_context") if upstream else None
    return details in {"SANITIZE_SET", "3"} and bool(
        tls and (tls.at("tls_certificates") or tls.at("tls_certificate_sds_secret_configs"))
    )


def name_unknown_clusters(model: EnvoyModel) -> None:
    """Name the clusters that checks ask at and that were not given."""
    for _, check in checks(model):
        name = service_cluster(check)
        if name not in model.snapshot.clusters and not check.config.at("grpc_service.google_grpc"):
            model.snapshot.unknown(check.node, f"the check asks at the cluster {name or '-'}, which was not given")


CHECK_RULES: Final[tuple[Rule[EnvoyModel], ...]] = (
    _failure_mode, _sampled, _shadow, _disabled, _conditional_all, _cache, _code, _upgrade, _around, _tunnel,
    _no_check,
)  # fmt: skip
