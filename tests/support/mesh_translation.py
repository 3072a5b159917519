"""What Istio and Envoy Gateway make of the manifests of deploy/: Envoy's own settings, as their sources have it.

No cluster is needed to run them so in a real Envoy; what a version of either does otherwise is not seen here. Istio:
pilot/pkg/security/authz/builder/extauthz.go and pilot/pkg/networking/core/gateway.go; Envoy Gateway:
internal/xds/translator/extauth.go and listener.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from support.manifests import of_kind, provider, the

Config = dict[str, Any]
EXTENSIONS = "type.googleapis.com/envoy.extensions"
MANAGER = f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"


def matchers(names: Iterable[str]) -> Config:
    """A list of header names, as both write it."""
    return {"patterns": [{"exact": name, "ignore_case": True} for name in names]}


def istio_checks(changes: Mapping[str, Any] | None = None) -> Config:
    """The ext_authz filter of Istio's extension provider, with `changes` to the provider."""
    one = provider() | dict(changes or {})
    return {
        "@type": f"{EXTENSIONS}.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": one["failOpen"],
        "status_on_error": {"code": int(one["statusOnError"])},
        "allowed_headers": matchers(one["includeRequestHeadersInCheck"]),
        "http_service": {
            "path_prefix": one["pathPrefix"],
            "server_uri": {"uri": f"http://{one['service']}", "cluster": "authz", "timeout": one["timeout"]},
            "authorization_request": {
                "headers_to_add": [
                    {"key": key, "value": value}
                    for key, value in sorted(one["includeAdditionalHeadersInCheck"].items())
                ]
            },
            "authorization_response": {
                "allowed_upstream_headers": matchers(one["headersToUpstreamOnAllow"]),
                "allowed_client_headers": matchers(one["headersToDownstreamOnDeny"]),
            },
        },
    }


def istio_manager(*, filtered: bool) -> Config:
    """The gateway's connection manager: Istio's own settings, and what the EnvoyFilter merges into it."""
    own: Config = {
        "@type": MANAGER,
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": True, "cert": True, "dns": True, "uri": True},
        "use_remote_address": True,
        "normalize_path": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    }
    if filtered:
        (patch,) = the("EnvoyFilter", "istio", "authz")["spec"]["configPatches"]
        merge(own, patch["patch"]["value"]["typed_config"])
    return own


def merge(into: Config, more: Mapping[str, Any]) -> None:
    """As protobuf merges: messages field by field, lists appended, anything else replaced."""
    for key, value in more.items():
        if isinstance(value, Mapping):
            merge(into.setdefault(key, {}), value)
        elif isinstance(value, list):
            into[key] = [*into.get(key, []), *value]
        else:
            into[key] = value


def istio_removed() -> list[str]:
    """What the VirtualService takes away behind the check."""
    (virtual,) = of_kind("VirtualService")
    return list(virtual["spec"]["http"][0]["headers"]["request"]["remove"])


def istio_names(namespace: str = "edge") -> tuple[str, str]:
    """SNI, and the name of the service that the DestinationRule verifies."""
    tls = the("DestinationRule", "istio", "authz", namespace)["spec"]["trafficPolicy"]["tls"]
    (name,) = tls["subjectAltNames"]
    return tls["sni"], name


def sidecar_manager(proxy_headers: Mapping[str, Any]) -> Config:
    """A sidecar's connection manager for inbound requests, with `proxyHeaders` of an annotation."""
    details = {"subject": True, "dns": True, "uri": True} | proxy_headers.get("setCurrentClientCertDetails", {})
    return {
        "@type": MANAGER,
        "forward_client_cert_details": proxy_headers.get("forwardedClientCert", "APPEND_FORWARD"),
        "set_current_client_cert_details": details,
        "use_remote_address": False,
        "normalize_path": True,
    }


def envoy_gateway_checks() -> Config:
    """The ext_authz filter of Envoy Gateway's SecurityPolicy; a status for failures it has none."""
    one = the("SecurityPolicy", "envoy-gateway", "authz")["spec"]["extAuth"]
    retry = one["http"]["backendSettings"]["retry"]
    return {
        "@type": f"{EXTENSIONS}.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": one["failOpen"],
        "allowed_headers": matchers(one["headersToExtAuth"]),
        "http_service": {
            "path_prefix": one["http"]["path"],
            "server_uri": {"uri": "http://authz.authz", "cluster": "authz", "timeout": one["timeout"]},
            "retry_policy": {
                "retry_on": ",".join(retry["retryOn"]["triggers"]),
                "num_retries": retry["numRetries"],
            },
            "authorization_response": {"allowed_upstream_headers": matchers(one["http"]["headersToBackend"])},
        },
    }


MODES = {"SanitizeSet": "SANITIZE_SET", "AppendForward": "APPEND_FORWARD", "Sanitize": "SANITIZE"}
ACTIONS = {"RejectRequest": "REJECT_REQUEST"}


def envoy_gateway_manager() -> Config:
    """The connection manager of Envoy Gateway's ClientTrafficPolicy."""
    one = the("ClientTrafficPolicy", "envoy-gateway", "edge")["spec"]
    headers, early = one["headers"], one["headers"]["earlyRequestHeaders"]
    mutations: list[Config] = [
        {
            "append": {
                "header": {"key": each["name"], "value": each["value"]},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        }
        for each in early["set"]
    ]
    mutations += [{"remove": name} for name in early["remove"]]
    mutation = {
        "@type": f"{EXTENSIONS}.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        "mutations": mutations,
    }
    certificate = headers["xForwardedClientCert"]
    return {
        "@type": MANAGER,
        "forward_client_cert_details": MODES[certificate["mode"]],
        "set_current_client_cert_details": {name.lower(): True for name in certificate["certDetailsToAdd"]},
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": ACTIONS[one["path"]["escapedSlashesAction"]],
        "common_http_protocol_options": {
            "headers_with_underscores_action": ACTIONS[headers["withUnderscoresAction"]],
            "idle_timeout": one["timeout"]["http"]["idleTimeout"],
        },
        "early_header_mutation_extensions": [
            {"name": "envoy.http.early_header_mutation.header_mutation", "typed_config": mutation}
        ],
    }


def envoy_gateway_removed() -> list[str]:
    """What the HTTPRoute takes away behind the check."""
    (route,) = of_kind("HTTPRoute")
    return list(route["spec"]["rules"][0]["filters"][0]["requestHeaderModifier"]["remove"])


def envoy_gateway_names() -> tuple[str, str]:
    """SNI, and the name of the service that the BackendTLSPolicy verifies: one."""
    name = the("BackendTLSPolicy", "envoy-gateway", "authz")["spec"]["validation"]["hostname"]
    return name, name


def common_tls(folder: Path, own: str, ca: str, *, name: str | None = None) -> Config:
    """A side of TLS with the certificate `own`, and peers of the CA `ca`; with `name`, of that DNS name alone."""
    context: Config = {"trusted_ca": {"filename": f"{folder}/{ca}.pem"}}
    if name is not None:
        context["match_typed_subject_alt_names"] = [{"san_type": "DNS", "matcher": {"exact": name}}]
    chain = {
        "certificate_chain": {"filename": f"{folder}/{own}.pem"},
        "private_key": {"filename": f"{folder}/{own}.key"},
    }
    return {"tls_certificates": [chain], "validation_context": context}


def upstream(name: str, port: int, tls: Config | None = None, sni: str = "") -> Config:
    """A cluster of one endpoint on this machine."""
    address = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    cluster: Config = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": address}]}]},
    }
    if tls is not None:
        context = {
            "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": tls,
            "sni": sni,
        }
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return cluster


def downstream(tls: Config, *, required: bool) -> Config:
    """The transport of a listener."""
    context = {
        "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": required,
        "common_tls_context": tls,
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def proxy(
    port: int,
    transport: Config,
    manager: Config,
    checks: Config | None,
    removed: Iterable[str],
    clusters: Iterable[Config],
) -> Config:
    """A whole Envoy: one listener, one manager, ext_authz if there is any, everything routed to `next`."""
    names = ("ext_authz", "router")
    router = {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"}
    filters = [
        {"name": f"envoy.filters.http.{name}", "typed_config": one}
        for name, one in zip(names, (checks, router), strict=True)
        if one is not None
    ]
    host = {
        "name": "application",
        "domains": ["*"],
        "request_headers_to_remove": list(removed),
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "next"}}],
    }
    whole = manager | {
        "stat_prefix": "requests",
        "http_filters": filters,
        "route_config": {"virtual_hosts": [host]},
    }
    chain = {
        "transport_socket": transport,
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": whole}],
    }
    listener = {
        "name": "listener",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [chain],
    }
    return {"static_resources": {"listeners": [listener], "clusters": list(clusters)}}
