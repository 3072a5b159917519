"""One fault for each rule: what somebody changes in the shipped configuration. The real proxies are given the same."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from authz.doctor.findings import ConfigFile
from authz.doctor.lint import lint_sources
from authz.doctor.service_settings import OurListener, Ours

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
ENVOY: Final = (DEPLOY / "envoy.yaml").read_text(encoding="utf-8")
NGINX: Final = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")

Changes = dict[str, str]
"""What is written in the place of what; each must be there."""


def changed(text: str, changes: Changes) -> str:
    """The text with the changes made."""
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


def mended(name: str, text: str, rule: str) -> str:
    """The text after everything that the rule says is done, by `patch`."""
    for _ in range(30):
        report = lint_sources([ConfigFile(name, text)])
        diff = next((finding.diff for finding in report.findings if finding.rule == rule), "")
        if not diff:
            return text
        with tempfile.NamedTemporaryFile("w+", encoding="utf-8") as held:
            held.write(text)
            held.flush()
            subprocess.run(["patch", "-s", held.name], input=diff, text=True, capture_output=True, check=True)
            text = Path(held.name).read_text(encoding="utf-8")
    raise AssertionError(f"{rule} is never mended")


def rules_of(text: str, name: str = "envoy.yaml", ours: Ours | None = None, identity: tuple[str, ...] = ()) -> set[str]:
    """The rules that find something in a text; what is not understood counts as `?`."""
    report = lint_sources([ConfigFile(name, text)], ours=ours, identity=identity)
    return {finding.rule for finding in report.findings} | {"?" for _ in report.not_understood}


WORDS: Final = {
    "envoy-code-before-check",
    "envoy-tunnel-around",
    "envoy-no-check",
    "envoy-route-checked-elsewhere",
    "envoy-identity-unremoved",
    "envoy-cluster-from-client",
    "envoy-host-from-client",
    "envoy-route-by-validation",
    "envoy-untrusted-accepted",
    "envoy-crl-empty",
    "envoy-session-keys-kept",
    "nginx-no-check",
    "nginx-check-answered-here",
    "nginx-code-before-check",
    "nginx-subrequests",
    "nginx-stream-around",
    "nginx-servers-differ",
}
"""Rules that say in words what to do: what belongs there is the operator's to know."""

_CHECK = "              transport_api_version: V3\n"
_REMOVE = "              - remove_on_match: {key_matcher: {prefix: x-authz-}}\n"
_ROUTES = "              routes:\n"
_ROUTE = "              - match: {prefix: /}\n                route: {cluster: application, timeout: 60s}\n"
_HOST = '              domains: ["*"]\n'
_FILTER = "          - name: envoy.filters.http.ext_authz\n"
_ROUTER_FILTER = "          - name: envoy.filters.http.router\n"
_HTTP_FILTERS = "          http_filters:\n"
_SECRET = (
    "            validation_context_sds_secret_config:\n"
    "              name: client_ca\n"
    "              sds_config:\n"
    "                resource_api_version: V3\n"
    "                path_config_source: {path: /etc/envoy/tls/client-ca.yaml}\n"
)
_LISTENERS = "  listeners:\n"
_CLUSTERS = "  clusters:\n"
_SERVICE = "        - endpoint: {address: {pipe: {path: /run/authz/authz.sock}}}\n"
_PER_ROUTE = (
    "                typed_per_filter_config:\n"
    "                  envoy.filters.http.ext_authz:\n"
    '                    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n'
)
_TYPE = "type.googleapis.com/envoy.extensions"
_ROUTER = f'{{name: envoy.filters.http.router, typed_config: {{"@type": {_TYPE}.filters.http.router.v3.Router}}}}'
_HCM = f'"@type": {_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager'
_EXTRA = "  - name: extra\n    address: {socket_address: {address: 127.0.0.1, port_value: 8445}}\n    filter_chains:\n"
_UNASKED = (
    f"{_EXTRA}    - filters:\n"
    f"      - {{name: http, typed_config: {{{_HCM}, stat_prefix: extra, http_filters: [{_ROUTER}], route_config: {{"
    'virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: application}}]}]}}}\n'
)
_TUNNEL = (
    f"{_EXTRA}    - filters:\n"
    f'      - {{name: tcp, typed_config: {{"@type": {_TYPE}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, '
    "cluster: application}}\n"
)
_TLS_WITHOUT_NAMES = (
    "    transport_socket:\n"
    "      name: envoy.transport_sockets.tls\n"
    f'      typed_config: {{"@type": {_TYPE}.transport_sockets.tls.v3.UpstreamTlsContext}}\n'
)
_ADMIN = "admin: {address: {socket_address: {address: 0.0.0.0, port_value: 9900}}}\n"


def _without_check() -> str:
    return ENVOY[ENVOY.index(_FILTER) : ENVOY.index(_ROUTER_FILTER)]


ENVOY_FAULTS: Final[dict[str, Changes]] = {
    "envoy-failure-mode-allow": {"failure_mode_allow: false": "failure_mode_allow: true"},
    "envoy-check-sampled": {
        _CHECK: f"{_CHECK}              filter_enabled: {{default_value: {{numerator: 0, denominator: HUNDRED}}}}\n"
    },
    "envoy-check-shadow": {_CHECK: f"{_CHECK}              shadow_mode: true\n"},
    "envoy-check-off": {_FILTER: f"{_FILTER}            disabled: true\n"},
    "envoy-check-conditional": {
        _CHECK: f"{_CHECK}              filter_enabled_metadata: {{filter: mine, path: [{{key: ask}}], value: "
        "{bool_match: true}}\n"
    },
    "envoy-cache-before-check": {
        _FILTER: "          - name: envoy.filters.http.cache\n"
        "            typed_config:\n"
        f'              "@type": {_TYPE}.filters.http.cache.v3.CacheConfig\n'
        f'              typed_config: {{"@type": {_TYPE}.http.cache.simple_http_cache.v3.SimpleHttpCacheConfig}}\n'
        + _FILTER,
    },
    "envoy-code-before-check": {
        _FILTER: "          - name: envoy.filters.http.lua\n"
        "            typed_config:\n"
        f'              "@type": {_TYPE}.filters.http.lua.v3.Lua\n'
        "              default_source_code: {inline_string: 'function envoy_on_request(handle)"
        ' handle:respond({[":status"] = "200"}, "lua") end\'}\n' + _FILTER
    },
    "envoy-upgrade-unchecked": {
        _HTTP_FILTERS: f"          upgrade_configs: [{{upgrade_type: websocket, filters: [{_ROUTER}]}}]\n"
        + _HTTP_FILTERS
    },
    "envoy-way-around": {_LISTENERS: _LISTENERS + _UNASKED},
    "envoy-tunnel-around": {_LISTENERS: _LISTENERS + _TUNNEL},
    "envoy-no-check": {_without_check(): ""},
    "envoy-route-unchecked": {
        _ROUTE: "              - match: {prefix: /open}\n"
        "                route: {cluster: application}\n"
        f"{_PER_ROUTE}                    disabled: true\n{_ROUTE}"
    },
    "envoy-path-unchecked": {
        _ROUTE: "              - match: {path: /health}\n"
        "                route: {cluster: application}\n"
        f"{_PER_ROUTE}                    disabled: true\n{_ROUTE}"
    },
    "envoy-route-checked-elsewhere": {
        _ROUTE: f"{_ROUTE}{_PER_ROUTE}                    check_settings: {{http_service: {{server_uri: "
        "{uri: http://stranger, cluster: stranger, timeout: 1s}}}\n"
    },
    "envoy-cluster-from-client": {"route: {cluster: application, timeout: 60s}": "route: {cluster_header: x-cluster}"},
    "envoy-host-from-client": {
        "route: {cluster: application, timeout: 60s}": "route: {cluster: application, host_rewrite_header: x-host}"
    },
    "envoy-connect-tunnel": {
        _HTTP_FILTERS: f"          upgrade_configs: [{{upgrade_type: CONNECT}}]\n{_HTTP_FILTERS}",
        _ROUTE: "              - match: {connect_matcher: {}}\n                route: {cluster: application, "
        f"upgrade_configs: [{{upgrade_type: CONNECT, connect_config: {{}}}}]}}\n{_ROUTE}",
    },
    "envoy-route-by-identity": {
        _REMOVE: "",
        _ROUTE: "              - match: {prefix: /, headers: [{name: x-authz-user, string_match: {exact: root}}]}\n"
        f"                route: {{cluster: stranger}}\n{_ROUTE}",
    },
    "envoy-route-by-validation": {
        "- match: {prefix: /}\n                route: {cluster: application, timeout: 60s}": "- match: {prefix: /, "
        "tls_context: {validated: true}}\n                route: {cluster: application, timeout: 60s}"
    },
    "envoy-paths-ambiguous": {
        "          normalize_path: true\n": "",
        _ROUTE: f"              - match: {{prefix: /admin}}\n                route: {{cluster: stranger}}\n{_ROUTE}",
    },
    "envoy-identity-not-taken": {_REMOVE: "", "                    - exact: x-authz-user\n": ""},
    "envoy-identity-survives": {
        "                    - exact: x-authz-user\n": "                    - exact: x-authz-user\n"
        "                    - exact: x-roles\n"
    },
    "envoy-identity-unremoved": {
        ENVOY[
            ENVOY.index("              http_service:\n") : ENVOY.index(_ROUTER_FILTER)
        ]: "              grpc_service: {envoy_grpc: {cluster_name: authz}}\n"
    },
    "envoy-identity-appended": {
        _REMOVE: "",
        "                  allowed_upstream_headers:\n": "                  allowed_upstream_headers_to_append: "
        "{patterns: [{exact: x-authz-user}]}\n                  allowed_upstream_headers:\n",
        "                    - exact: x-authz-user\n": "",
    },
    "envoy-identity-removed-late": {
        "[x-forwarded-client-cert, x-authz-payload]": "[x-forwarded-client-cert, x-authz-payload, x-authz-user]"
    },
    "envoy-identity-rewritten": {
        _HOST: f"{_HOST}              request_headers_to_add: [{{header: {{key: x-authz-user, "
        "value: '%REQ(x-user)%'}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]\n"
    },
    "envoy-word-from-client": {
        "              - remove: x-forwarded-host\n": "              - remove: x-forwarded-host\n"
        "              - append: {header: {key: x-user, value: '%REQ(x-mine)%'}}\n",
        "                - exact: x-authz-payload\n": "                - exact: x-authz-payload\n"
        "                - exact: x-user\n",
    },
    "envoy-payload-from-client": {
        _REMOVE: "",
        _ROUTE: f"{_ROUTE}                typed_per_filter_config: {{envoy.filters.http.jwt_authn: "
        '{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}\n',
    },
    "envoy-underscores": {"            headers_with_underscores_action: REJECT_REQUEST\n": ""},
    "envoy-headers-joined": {"encode_raw_headers: true": "encode_raw_headers: false"},
    "envoy-forwarded-host": {"              - remove: x-forwarded-host\n": ""},
    "envoy-certificate-headers": {"              - remove_on_match: {key_matcher: {prefix: x-ssl-}}\n": ""},
    "envoy-certificate-forwarded": {
        "forward_client_cert_details: SANITIZE_SET": "forward_client_cert_details: FORWARD_ONLY"
    },
    "envoy-certificate-not-handed-over": {"          forward_client_cert_details: SANITIZE_SET\n": ""},
    "envoy-certificate-hash-only": {"{cert: true, chain: true}": "{subject: true}"},
    "envoy-certificate-names": {"{cert: true, chain: true}": "{cert: true, chain: true, uri: true}"},
    "envoy-certificate-not-sent": {"                - exact: x-forwarded-client-cert\n": ""},
    "envoy-no-certificate-request": {_SECRET: ""},
    "envoy-require-ignored": {
        _SECRET: "",
        "require_client_certificate: false": "require_client_certificate: true",
    },
    "envoy-require-unsaid": {
        "          require_client_certificate: false\n": "",
        _SECRET: "            validation_context: {trusted_ca: {filename: /etc/envoy/tls/roots.pem}}\n",
    },
    "envoy-untrusted-accepted": {
        _SECRET: "            validation_context: {trust_chain_verification: ACCEPT_UNTRUSTED}\n"
    },
    "envoy-crl-empty": {
        _SECRET: "            validation_context: {trusted_ca: {filename: /etc/envoy/tls/roots.pem}, "
        'crl: {inline_string: ""}}\n'
    },
    "envoy-listener-cleartext": {
        _CLUSTERS: f"{_EXTRA}    - filters: *filters\n\n{_CLUSTERS}",
    },
    "envoy-service-cleartext": {
        _SERVICE: "        - endpoint: {address: {socket_address: {address: 192.0.2.7, port_value: 9002}}}\n"
    },
    "envoy-service-unverified": {
        _CLUSTERS + "  - name: authz\n": f"{_CLUSTERS}  - name: authz\n{_TLS_WITHOUT_NAMES}",
    },
    "envoy-tls-old": {
        "tls_minimum_protocol_version: TLSv1_2": "tls_minimum_protocol_version: TLSv1_0, "
        "cipher_suites: [ECDHE-ECDSA-AES128-SHA]"
    },
    "envoy-early-data": {
        "        name: envoy.transport_sockets.tls\n"
        "        typed_config:\n"
        f'          "@type": {_TYPE}.transport_sockets.tls.v3.DownstreamTlsContext\n'
        "          common_tls_context:\n"
        "            alpn_protocols: [h2, http/1.1]\n"
        "            tls_params: {tls_minimum_protocol_version: TLSv1_2}\n"
        "            tls_certificates: *server_certificates\n": "        name: envoy.transport_sockets.quic\n"
        "        typed_config:\n"
        f'          "@type": {_TYPE}.transport_sockets.quic.v3.QuicDownstreamTransport\n'
        "          downstream_tls_context: {common_tls_context: {tls_certificates: *server_certificates}}\n"
    },
    "envoy-session-keys-kept": {
        "          require_client_certificate: false\n": "          require_client_certificate: false\n"
        "          session_ticket_keys: {keys: [{filename: /etc/envoy/tls/ticket.key}]}\n"
    },
    "envoy-client-address": {"          use_remote_address: true\n": ""},
    "envoy-admin-open": {"static_resources:\n": f"{_ADMIN}static_resources:\n"},
}
"""Each is found by its rule; `NOT_SEEN` of the real proxy's test says which of them cannot be shown."""

_FIRST_SET = '    proxy_set_header Connection "";\n    # The name'
_APP = "            # No path after the name, so that the application gets the path as the client wrote it.\n"
_PASS = "            proxy_pass http://application;\n"
_LOCATION = f"        location / {{\n{_APP}"
_ASK = "            proxy_pass http://authz/v1/auth;\n"
_INTERNAL = "            # Without it, a client can ask the service directly.\n            internal;\n"
_HTTP = "    server_tokens off;\n"
_SERVER = "    # Mutual TLS. One server"
_CACHE = "    proxy_cache_path /var/cache/nginx/doctor keys_zone=doctor:1m;\n"
_EXTRA_SERVER = (
    "    server {{\n        listen {listen};\n        auth_request off;\n        location / {{ {passes} }}\n    }}\n"
)

NGINX_FAULTS: Final[dict[str, Changes]] = {
    "nginx-location-unchecked": {
        _LOCATION: "        location /open/ {\n            auth_request off;\n" + _PASS + "        }\n" + _LOCATION
    },
    "nginx-server-unchecked": {
        _SERVER: _EXTRA_SERVER.format(listen="8445 ssl", passes="proxy_pass http://application;") + _SERVER
    },
    "nginx-path-unchecked": {
        _LOCATION: "        location = /health {\n            auth_request off;\n" + _PASS + "        }\n" + _LOCATION
    },
    "nginx-no-check": {"    auth_request /_authz;\n": ""},
    "nginx-satisfy-any": {"    satisfy all;\n": "    satisfy any;\n    allow all;\n"},
    "nginx-return-before-check": {_LOCATION: f"{_LOCATION}            return 200 open;\n"},
    "nginx-rewrite-around": {
        _LOCATION: "        location /inside/ {\n            internal;\n            auth_request off;\n"
        + _PASS
        + f"        }}\n{_LOCATION}            rewrite ^/in/(.*)$ /inside/$1 last;\n"
    },
    "nginx-error-page-around": {
        _LOCATION: "        location @open {\n            auth_request off;\n"
        + _PASS
        + f"        }}\n{_LOCATION}            error_page 401 403 500 =200 @open;\n"
    },
    "nginx-errors-intercepted": {"proxy_intercept_errors off;": "proxy_intercept_errors on;"},
    "nginx-code-before-check": {_LOCATION: f"{_LOCATION}            rewrite_by_lua_block {{ ngx.exit(200) }}\n"},
    "nginx-subrequests": {_LOCATION: f"{_LOCATION}            ssi on;\n"},
    "nginx-verdict-cached": {
        _HTTP: _HTTP + _CACHE,
        _INTERNAL: f"{_INTERNAL}            proxy_cache doctor;\n            proxy_cache_valid 200 1m;\n"
        "            proxy_cache_key $host;\n",
    },
    "nginx-answers-cached": {
        _HTTP: _HTTP + _CACHE,
        _LOCATION: f"{_LOCATION}            proxy_cache doctor;\n            proxy_cache_valid 200 1m;\n",
    },
    "nginx-check-answered-here": {_ASK: "            return 200;\n"},
    "nginx-check-reachable": {_INTERNAL: ""},
    "nginx-accel-redirect": {"    proxy_ignore_headers X-Accel-Redirect;\n": ""},
    "nginx-stream-around": {
        "http {\n": "stream {\n    server {\n        listen 8446;\n        proxy_pass 127.0.0.1:8080;\n"
        "    }\n}\n\nhttp {\n"
    },
    "nginx-headers-not-inherited": {_LOCATION: f"{_LOCATION}            proxy_set_header X-Mine 1;\n"},
    "nginx-identity-not-set": {"    proxy_set_header X-Authz-User $authz_user;\n": ""},
    "nginx-identity-from-client": {
        "proxy_set_header X-Authz-User $authz_user;": "proxy_set_header X-Authz-User $http_x_authz_user;"
    },
    "nginx-variables-not-inherited": {
        _LOCATION: f"{_LOCATION}            auth_request_set $mine $upstream_http_x_mine;\n"
    },
    "nginx-host-differs": {
        "    proxy_set_header Host $host;\n    proxy_set_header X-Forwarded-For": ""
        "    proxy_set_header Host $http_host;\n"
        "    proxy_set_header X-Forwarded-For"
    },
    "nginx-check-host": {"            proxy_set_header Host $host;\n": ""},
    "nginx-check-headers-passed": {"            proxy_pass_request_headers off;\n": ""},
    "nginx-check-body-passed": {
        "            proxy_pass_request_body off;\n": "",
        '            proxy_set_header Content-Length "";\n': "",
    },
    "nginx-certificate-not-sent": {
        "            proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;\n": "",
    },
    "nginx-certificate-broken": {"$ssl_client_escaped_cert;": "$ssl_client_raw_cert;"},
    "nginx-certificate-headers": {'    proxy_set_header X-SSL-Cert "";\n': ""},
    "nginx-forwarded-host": {'    proxy_set_header X-Forwarded-Host "";\n': ""},
    "nginx-underscores": {"underscores_in_headers off;": "underscores_in_headers on;"},
    "nginx-listener-cleartext": {"listen 8444 ssl default_server;": "listen 8444 default_server;"},
    "nginx-no-certificate-request": {
        "        ssl_verify_client optional_no_ca;\n": "",
    },
    "nginx-servers-differ": {
        "listen 8444 ssl default_server;\n        server_name _;": "listen 8443 ssl;\n"
        "        server_name acme.example.test;  # was listen 8444"
    },
    "nginx-session-cache": {"ssl_session_cache off;": "ssl_session_cache shared:doctor:1m;"},
    "nginx-session-tickets": {"    ssl_session_tickets off;\n": ""},
    "nginx-early-data": {
        "ssl_early_data off;": "ssl_early_data on;",
        "    ssl_session_tickets off;\n": "",
    },
    "nginx-tls-old": {"ssl_protocols TLSv1.2 TLSv1.3;": "ssl_protocols TLSv1.1 TLSv1.2 TLSv1.3;"},
    "nginx-real-ip": {_HTTP: f"{_HTTP}    set_real_ip_from 0.0.0.0/0;\n    real_ip_header X-Forwarded-For;\n"},
    "nginx-service-cleartext": {
        "        server unix:/run/authz/nginx.sock max_fails=0;\n": "        server 192.0.2.7:9003;"
        "  # was /run/authz/nginx.sock\n"
    },
    "nginx-service-unverified": {_ASK: "            proxy_pass https://authz/v1/auth;\n"},
}

ENVOY_OURS: Final = Ours(
    "authz.toml",
    (
        OurListener(
            name="envoy",
            address="unix:/run/authz/authz.sock",
            tls=False,
            names=(),
            prefix="/v1/check",
            auth_request_path="/v1/auth",
            certificate_header="x-forwarded-client-cert",
            certificate_form="xfcc",
            statement_header="x-authz-peer",
            statement_form="envoy-fingerprint",
            identity_headers=("x-authz-payload",),
            token_headers=(),
            hops=0,
        ),
    ),
    0.3,
    ("acme.example.test",),
)
