"""Rules that compare Envoy's configuration with the service's own settings (`--config`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.doctor.envoy.certificate_rules import XFCC, mode
from authz.doctor.envoy.check_rules import checks
from authz.doctor.envoy.identity_rules import pairs
from authz.doctor.envoy.model import EnvoyModel, Hcm, HttpFilter, hit, matches, service_cluster
from authz.doctor.envoy.transport_rules import upstream_tls
from authz.doctor.findings import Edit, Hit, Rule, Severity, rule
from authz.doctor.proxy_names import names_in, names_in_file
from authz.doctor.service_settings import DISAGREEMENT, OurListener, asked_at
from authz.doctor.tree import ABSENT, Node


def _asked(model: EnvoyModel, check: HttpFilter) -> list[OurListener]:
    return asked_at(model.ours, model.addresses(service_cluster(check)))


def _met(model: EnvoyModel) -> Iterator[tuple[Hcm, HttpFilter, OurListener]]:
    for hcm, check in pairs(model):
        for listener in _asked(model, check):
            yield hcm, check, listener


@rule("envoy-settings-address", Severity.FATAL, "[[listener]] address", proof=DISAGREEMENT)
def _address(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy asks where the service does not listen.

    No request is allowed, or something else answers there.
    """
    for _, check in checks(model):
        addresses = model.addresses(service_cluster(check))
        if model.ours is not None and addresses and not _asked(model, check):
            where = ", ".join(listener.address for listener in model.ours.listeners)
            what = f"Envoy asks at {', '.join(addresses)}; the service listens at {where}"
            cluster = model.snapshot.clusters[service_cluster(check)]
            yield hit(cluster, what, f"ask where {model.ours.file} says, or change it there")


@rule("envoy-settings-form", Severity.FATAL, "[listener.certificate]", proof=DISAGREEMENT)
def _form(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy hands certificates over in another form or header than the listener takes.

    Every certificate is header_malformed, or missing.
    """
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


@rule(
    "envoy-settings-request",
    Severity.FATAL,
    "[listener.client_request]; ext_authz headers_to_add",
    proof=DISAGREEMENT,
)
def _request_host(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy does not send the client's host in the header that the listener reads it from.

    Every request is host_malformed; or, where the header is allowed, the client chooses the organization.
    """
    for _, check, listener in _met(model):
        header = listener.host_header
        if header != "host" and _added(check, header).at("value").text != _AUTHORITY:
            what = f"listener {listener.name} reads the host from {header}, which is not Envoy's"
            yield _sent(check, header, _AUTHORITY, what, "send the client's host there")


_AUTHORITY: Final = "%REQ(:AUTHORITY)%"


def _sent(check: HttpFilter, header: str, value: str, what: str, mend: str) -> Hit:
    """A hit that is mended by sending the service `header` with that value."""
    added, path = _added(check, header), "http_service.authorization_request.headers_to_add"
    if added:
        return hit(added, what, mend, added.put("value", value))
    row = {"key": header, "value": value}
    return hit(check.node, what, mend, check.config.at(path).append(row) or check.config.put(path, [row]))


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


@rule("envoy-settings-statement", Severity.FATAL, "[listener.client_cert_indicator]", proof=DISAGREEMENT)
def _statement(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy does not state whether a certificate was shown, as the listener wants it.

    Every request is refused: proxy_statement_missing or proxy_statement_contradicts.
    """
    for _, check, listener in _met(model):
        form, header = listener.statement_form, listener.statement_header
        if form == "none" or not check.config.at("http_service"):
            continue
        if form != "envoy-fingerprint" or _added(check, header).at("value").text != _FINGERPRINT:
            what = f"listener {listener.name} wants {header} as {form}"
            yield _sent(check, header, _FINGERPRINT, what, "state whether a certificate was shown")


_FINGERPRINT: Final = "sha256=%DOWNSTREAM_PEER_FINGERPRINT_256%"


@rule(
    "envoy-settings-user",
    Severity.FATAL,
    "[[listener.identity]]; ext_authz allowed_headers, disallowed_headers",
    proof=DISAGREEMENT,
)
def _user(model: EnvoyModel) -> Iterator[Hit]:
    """what the listener reads the user from does not reach the service.

    Every request is refused: identity_missing or token_missing.
    """
    for _, check, listener in _met(model):
        for header in listener.identity_headers:
            if not _reaches(check, header):
                what = f"listener {listener.name} reads the user from {header}, which Envoy does not send"
                yield hit(check.node, what, "allow it", _allow(check, header))


@rule(
    "envoy-settings-user-from-client",
    Severity.FATAL,
    "[[listener.identity]]; early_header_mutation_extensions",
    proof="any header that allowed_headers names arrives as the client wrote it: tests/integration/test_spoofing.py",
)
def _from_client(model: EnvoyModel) -> Iterator[Hit]:
    """the header that the listener reads the user from may be the client's own.

    Where no filter replaces it, a client names the user.
    """
    for hcm, check, listener in _met(model):
        for header in listener.identity_headers:
            if header not in listener.token_headers and _reaches(check, header) and not hcm.removed(header):
                what = f"the service believes {header}, and a client's own is not removed"
                yield hit(hcm.early or hcm.node, what, "remove it early", hcm.remove_early(header))


@rule("envoy-settings-path", Severity.FATAL, "[[listener]] prefix; ext_authz path_prefix", proof=DISAGREEMENT)
def _path(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy asks under another path than the listener's.

    The service answers 404, which refuses.
    """
    for _, check, listener in _met(model):
        http = check.config.at("http_service")
        prefix = http.at("path_prefix")
        if http and not http.at("path_override") and prefix.text != listener.prefix:
            what = f"Envoy asks below {prefix.text or '/'}, listener {listener.name} answers below {listener.prefix}"
            yield hit(prefix or http, what, "ask there", http.put("path_prefix", listener.prefix))


@rule("envoy-settings-transport", Severity.FATAL, "[listener.tls]", proof=DISAGREEMENT)
def _transport(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy and the listener do not agree on TLS.

    No connection comes about: every request is refused.
    """
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


@rule("envoy-settings-names", Severity.FATAL, "[listener.tls] names; where the file can be read", proof=DISAGREEMENT)
def _names(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy's own certificate has none of the names that the listener lets in.

    Every handshake fails: every request is refused.
    """
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


@rule("envoy-settings-hops", Severity.FATAL, "[[listener.trusted_proxies]]; docs/listeners.md", proof=DISAGREEMENT)
def _hops(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy and the listener do not agree on gateways in front.

    Without hops an appended element refuses (header_elements_unexpected); with hops and none appended no gateway proves
    itself.
    """
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


@rule(
    "envoy-settings-timeout",
    Severity.WARNING,
    "limits.check_seconds; server_uri.timeout, retry_back_off.max_interval",
    proof=DISAGREEMENT,
)
def _timeout(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy gives up before the service does.

    A check that waits for a CRL is cut off, and its reason is lost.
    """
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


@rule("envoy-settings-hosts", Severity.WARNING, "the directory's hosts; virtual_hosts.domains", proof=DISAGREEMENT)
def _hosts(model: EnvoyModel) -> Iterator[Hit]:
    """an organization's host has no virtual host.

    Its clients get 404.
    """
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
    _address, _form, _statement, _request_host, _user, _from_client, _path, _transport, _names, _hops, _timeout,
    _hosts,
)  # fmt: skip
