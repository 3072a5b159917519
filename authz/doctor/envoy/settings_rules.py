"""Rules that compare Envoy's configuration with the service's own settings (`--config`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.doctor.envoy.certificate_rules import XFCC, mode
from authz.doctor.envoy.check_rules import checks
from authz.doctor.envoy.early import remove_early
from authz.doctor.envoy.hits import hit
from authz.doctor.envoy.identity_rules import pairs
from authz.doctor.envoy.model import EnvoyModel, Hcm, HttpFilter, matches, service_cluster
from authz.doctor.envoy.transport_rules import upstream_tls
from authz.doctor.findings import Edit, Hit, Rule, Severity
from authz.doctor.ours import OurListener
from authz.doctor.proxy_names import names_in, names_in_file
from authz.doctor.tree import ABSENT, Node

_PROVED: Final = "the fault is a disagreement that refuses every request: the service's own tests show each refusal"


def _asked(model: EnvoyModel, check: HttpFilter) -> list[OurListener]:
    """The service's listeners at which this check asks."""
    if model.ours is None:
        return []
    addresses = model.addresses(service_cluster(check))
    return [listener for listener in model.ours.listeners if any(map(listener.at, addresses))]


def _met(model: EnvoyModel) -> Iterator[tuple[Hcm, HttpFilter, OurListener]]:
    for hcm, check in pairs(model):
        for listener in _asked(model, check):
            yield hcm, check, listener


def _address(model: EnvoyModel) -> Iterator[Hit]:
    for _, check in checks(model):
        addresses = model.addresses(service_cluster(check))
        if model.ours is not None and addresses and not _asked(model, check):
            where = ", ".join(listener.address for listener in model.ours.listeners)
            what = f"Envoy asks at {', '.join(addresses)}; the service listens at {where}"
            cluster = model.snapshot.clusters[service_cluster(check)]
            yield hit(cluster, what, f"ask where {model.ours.file} says, or change it there")


def _form(model: EnvoyModel) -> Iterator[Hit]:
    for hcm, check, listener in _met(model):
        details = hcm.node.at("set_current_client_cert_details")
        writes = "xfcc-json" if details.at("format").text in {"JSON", "2"} else "xfcc"
        if listener.certificate_header == XFCC and listener.certificate_form != writes:
            what = f"Envoy writes {writes}, listener {listener.name} reads {listener.certificate_form}"
            yield hit(details or hcm.node, what, f'certificate = {{form = "{writes}"}} in the settings')
        if not _reaches(check, listener.certificate_header):
            what = f"listener {listener.name} reads {listener.certificate_header}, which Envoy does not send"
            yield hit(check.node, what, "allow it", _allow(check, listener.certificate_header))
        if listener.none_values:
            what = f"listener {listener.name} refuses without {XFCC}, which Envoy sends with a certificate alone"
            yield hit(check.node, what, "take none out of [listener.certificate]")


def _request_host(model: EnvoyModel) -> Iterator[Hit]:
    for _, check, listener in _met(model):
        added = _added(check, listener.host_header)
        if listener.host_header != "host" and added.at("value").text != _AUTHORITY:
            what = f"listener {listener.name} reads the host from {listener.host_header}, which is not Envoy's"
            value = {"key": listener.host_header, "value": _AUTHORITY}
            yield hit(added or check.node, what, "send the client's host there", _add(check, added, value))


_AUTHORITY: Final = "%REQ(:AUTHORITY)%"


def _allow(check: HttpFilter, header: str) -> tuple[Edit, ...]:
    return check.config.at("allowed_headers.patterns").append({"exact": header})


def _reaches(check: HttpFilter, header: str) -> bool:
    if not check.config.at("http_service"):
        return True
    if any(matches(pattern, header) for pattern in check.config.at("disallowed_headers.patterns").items):
        return False
    older = check.config.at("http_service.authorization_request.allowed_headers.patterns").items
    allowed = (*check.config.at("allowed_headers.patterns").items, *older)
    return (
        header == "authorization" or any(matches(pattern, header) for pattern in allowed) or bool(_added(check, header))
    )


def _added(check: HttpFilter, header: str) -> Node:
    for each in check.config.at("http_service.authorization_request.headers_to_add").items:
        if each.at("key").text.lower() == header:
            return each
    return ABSENT


def _statement(model: EnvoyModel) -> Iterator[Hit]:
    for _, check, listener in _met(model):
        if listener.statement_form == "none" or not check.config.at("http_service"):
            continue
        added = _added(check, listener.statement_header)
        if listener.statement_form != "envoy-fingerprint" or added.at("value").text != _FINGERPRINT:
            what = f"listener {listener.name} wants {listener.statement_header} as {listener.statement_form}"
            value = {"key": listener.statement_header, "value": _FINGERPRINT}
            yield hit(added or check.node, what, "state whether a certificate was shown", _add(check, added, value))


_FINGERPRINT: Final = "sha256=%DOWNSTREAM_PEER_FINGERPRINT_256%"


def _add(check: HttpFilter, added: Node, value: dict[str, str]) -> tuple[Edit, ...]:
    if added:
        return added.put("value", value["value"])
    path = "http_service.authorization_request.headers_to_add"
    return check.config.at(path).append(value) or check.config.put(path, [value])


def _user(model: EnvoyModel) -> Iterator[Hit]:
    for _, check, listener in _met(model):
        for header in listener.identity_headers:
            if not _reaches(check, header):
                what = f"listener {listener.name} reads the user from {header}, which Envoy does not send"
                yield hit(check.node, what, "allow it", _allow(check, header))


def _from_client(model: EnvoyModel) -> Iterator[Hit]:
    for hcm, check, listener in _met(model):
        for header in listener.identity_headers:
            if header not in listener.token_headers and _reaches(check, header) and not hcm.removed(header):
                what = f"the service believes {header}, and a client's own is not removed"
                yield hit(hcm.early or hcm.node, what, "remove it early", remove_early(hcm, header))


def _path(model: EnvoyModel) -> Iterator[Hit]:
    for _, check, listener in _met(model):
        http = check.config.at("http_service")
        prefix = http.at("path_prefix")
        if http and not http.at("path_override") and prefix.text != listener.prefix:
            what = f"Envoy asks below {prefix.text or '/'}, listener {listener.name} answers below {listener.prefix}"
            yield hit(prefix or http, what, "ask there", http.put("path_prefix", listener.prefix))


def _transport(model: EnvoyModel) -> Iterator[Hit]:
    for _, check, listener in _met(model):
        cluster = model.snapshot.clusters.get(service_cluster(check), ABSENT)
        common = upstream_tls(cluster).at("common_tls_context")
        shows = common.at("tls_certificates") or common.at("tls_certificate_sds_secret_configs")
        if listener.tls and not shows:
            names = ", ".join(listener.names)
            what = f"listener {listener.name} demands a certificate of the proxy ({names}), none is shown"
            yield hit(cluster, what, "show one (deploy/envoy-mtls.yaml)")
        if not listener.tls and common:
            yield hit(
                cluster,
                f"listener {listener.name} speaks no TLS",
                "take the transport socket out, or set [listener.tls]",
            )


def _names(model: EnvoyModel) -> Iterator[Hit]:
    for _, check, listener in _met(model):
        tls = upstream_tls(model.snapshot.clusters.get(service_cluster(check), ABSENT))
        for shown in tls.at("common_tls_context.tls_certificates").items if listener.tls else ():
            chain = shown.at("certificate_chain")
            inline = chain.at("inline_string").text
            names = names_in(inline.encode()) if inline else names_in_file(chain.at("filename").text)
            if names is not None and names.isdisjoint(listener.names):
                shown_names, wanted = ", ".join(sorted(names)) or "no name", ", ".join(listener.names)
                what = f"Envoy's certificate is for {shown_names}, listener {listener.name} lets {wanted} in"
                yield hit(chain, what, "show one with that name, or add the name there")


def _hops(model: EnvoyModel) -> Iterator[Hit]:
    for hcm, _, listener in _met(model):
        appends = mode(hcm) == "APPEND_FORWARD"
        if appends != bool(listener.hops):
            what = (
                f"Envoy {'appends to' if appends else 'replaces'} the certificate header, listener {listener.name} has "
            )
            what += f"{listener.hops} hops"
            yield hit(
                hcm.node.at("forward_client_cert_details") or hcm.node,
                what,
                "name the gateways in [[listener.trusted_proxies]]",
            )


def _timeout(model: EnvoyModel) -> Iterator[Hit]:
    for _, check, _ in _met(model):
        for path in ("server_uri.timeout", "retry_policy.retry_back_off.max_interval"):
            node = check.config.at("http_service").at(path)
            if model.ours and node and _seconds(node.text) <= model.ours.check_seconds:
                what = f"Envoy gives up after {node.text}, the service after {model.ours.check_seconds} s"
                mend = check.config.at("http_service").put(path, f"{model.ours.check_seconds + 0.1:.1f}s")
                yield hit(node, what, "give up after the service", mend)


def _seconds(text: str) -> float:
    try:
        return float(text.rstrip("s"))
    except ValueError:
        return 0


def _hosts(model: EnvoyModel) -> Iterator[Hit]:
    for hcm, _, _ in _met(model):
        domains = {domain.text for route in hcm.routes for domain in route.levels[-2].at("domains").items}
        for host in model.ours.hosts if model.ours else ():
            if domains and not any(_served(host, domain) for domain in domains):
                yield hit(
                    hcm.node.at("route_config") or hcm.node, f"no virtual host serves {host}", "add it to domains"
                )


def _served(host: str, domain: str) -> bool:
    bare = domain.rpartition(":")[0] if domain.rpartition(":")[2].isdecimal() else domain
    return bare in {"*", host} or (bare.startswith("*") and host.endswith(bare[1:]))


ENVOY_SETTINGS_RULES: Final[tuple[Rule[EnvoyModel], ...]] = (
    Rule(
        "envoy-settings-address",
        Severity.FATAL,
        "Envoy asks where the service does not listen",
        "No request is allowed, or something else answers there.",
        "[[listener]] address",
        _address,
        _PROVED,
    ),
    Rule(
        "envoy-settings-form",
        Severity.FATAL,
        "Envoy hands certificates over in another form or header than the listener takes",
        "Every certificate is header_malformed, or missing.",
        "[listener.certificate]",
        _form,
        _PROVED,
    ),
    Rule(
        "envoy-settings-statement",
        Severity.FATAL,
        "Envoy does not state whether a certificate was shown, as the listener wants it",
        "Every request is refused: proxy_statement_missing or proxy_statement_contradicts.",
        "[listener.client_cert_indicator]",
        _statement,
        _PROVED,
    ),
    Rule(
        "envoy-settings-request",
        Severity.FATAL,
        "Envoy does not send the client's host in the header that the listener reads it from",
        "Every request is host_malformed; or, where the header is allowed, the client chooses the organization.",
        "[listener.client_request]; ext_authz headers_to_add",
        _request_host,
        _PROVED,
    ),
    Rule(
        "envoy-settings-user",
        Severity.FATAL,
        "what the listener reads the user from does not reach the service",
        "Every request is refused: identity_missing or token_missing.",
        "[[listener.identity]]; ext_authz allowed_headers, disallowed_headers",
        _user,
        _PROVED,
    ),
    Rule(
        "envoy-settings-user-from-client",
        Severity.FATAL,
        "the header that the listener reads the user from may be the client's own",
        "Where no filter replaces it, a client names the user.",
        "[[listener.identity]]; early_header_mutation_extensions",
        _from_client,
        "any header that allowed_headers names arrives as the client wrote it: tests/integration/test_spoofing.py",
    ),
    Rule(
        "envoy-settings-path",
        Severity.FATAL,
        "Envoy asks under another path than the listener's",
        "The service answers 404, which refuses.",
        "[[listener]] prefix; ext_authz path_prefix",
        _path,
        _PROVED,
    ),
    Rule(
        "envoy-settings-transport",
        Severity.FATAL,
        "Envoy and the listener do not agree on TLS",
        "No connection comes about: every request is refused.",
        "[listener.tls]",
        _transport,
        _PROVED,
    ),
    Rule(
        "envoy-settings-names",
        Severity.FATAL,
        "Envoy's own certificate has none of the names that the listener lets in",
        "Every handshake fails: every request is refused.",
        "[listener.tls] names; where the file can be read",
        _names,
        _PROVED,
    ),
    Rule(
        "envoy-settings-hops",
        Severity.FATAL,
        "Envoy and the listener do not agree on gateways in front",
        "Without hops an appended element refuses (header_elements_unexpected); with hops and none appended no"
        " gateway proves itself.",
        "[[listener.trusted_proxies]]; docs/listeners.md",
        _hops,
        _PROVED,
    ),
    Rule(
        "envoy-settings-timeout",
        Severity.WARNING,
        "Envoy gives up before the service does",
        "A check that waits for a CRL is cut off, and its reason is lost.",
        "limits.check_seconds; server_uri.timeout, retry_back_off.max_interval",
        _timeout,
        _PROVED,
    ),
    Rule(
        "envoy-settings-hosts",
        Severity.WARNING,
        "an organization's host has no virtual host",
        "Its clients get 404.",
        "the directory's hosts; virtual_hosts.domains",
        _hosts,
        _PROVED,
    ),
)
