"""Ways to write a fault so that it is not seen: each is found all the same, or named as not understood."""

from __future__ import annotations

import contextlib
import copy
import re

import pytest
import yaml
from support.doctor_faults import ENVOY, ENVOY_OURS, NGINX, changed, rules_of
from support.doctor_mutants import at, dumped, paths_in

from authz.doctor.findings import ConfigFile, NotUnderstood, Unreadable
from authz.doctor.lint import lint_sources
from authz.doctor.nginx.reader import is_nginx

CHECK = "              transport_api_version: V3\n"
FILTER = "          - name: envoy.filters.http.ext_authz\n"
ROUTE = "              - match: {prefix: /}\n                route: {cluster: application, timeout: 60s}\n"
TYPE = "type.googleapis.com/envoy.extensions.filters"
PER_ROUTE = f'{{"@type": {TYPE}.http.ext_authz.v3.ExtAuthzPerRoute, disabled: true}}'
OPEN = "              - match: {prefix: /open}\n                route: {cluster: application}\n"
ROUTER = f'{{name: router, typed_config: {{"@type": {TYPE}.http.router.v3.Router}}}}'
HCM = f'"@type": {TYPE}.network.http_connection_manager.v3.HttpConnectionManager'


def listener(cluster: str, *, chain: str = "filter_chains", routes: str | None = None) -> dict[str, str]:
    """A listener more, without a check, to a cluster."""
    routes = routes or f"[{{match: {{prefix: /}}, route: {{cluster: {cluster}}}}}]"
    filters = (
        f"[{{name: http, typed_config: {{{HCM}, http_filters: [{ROUTER}], "
        f"route_config: {{virtual_hosts: [{{name: all, domains: ['*'], routes: {routes}}}]}}}}}}]"
    )
    chains = f"[{{filters: {filters}}}]" if chain == "filter_chains" else f"{{filters: {filters}}}"
    return {"  listeners:\n": f"  listeners:\n  - {{name: extra, {chain}: {chains}}}\n"}


def cluster(name: str, address: str) -> dict[str, str]:
    """A cluster more."""
    endpoints = f"[{{lb_endpoints: [{{endpoint: {{address: {address}}}}}]}}]"
    text = f"  - {{name: {name}, load_assignment: {{endpoints: {endpoints}}}}}\n"
    return {"  clusters:\n": f"  clusters:\n{text}"}


LOCALHOST = "{socket_address: {address: localhost, port_value: 8080}}"

ENVOY_DISGUISES = {
    "camel case": ({"failure_mode_allow: false": "failureModeAllow: true"}, "envoy-failure-mode-allow"),
    "yes for true": ({"failure_mode_allow: false": "failure_mode_allow: yes"}, "envoy-failure-mode-allow"),
    "text for true": ({"failure_mode_allow: false": 'failure_mode_allow: "true"'}, "envoy-failure-mode-allow"),
    "no boolean at all": ({"failure_mode_allow: false": "failure_mode_allow: 1"}, "envoy-failure-mode-allow"),
    "both spellings": ({CHECK: f"{CHECK}              failureModeAllow: true\n"}, "?"),
    "the field twice": ({CHECK: f"{CHECK}              failure_mode_allow: true\n"}, "?"),
    "a merge key": ({CHECK: f"{CHECK}              <<: {{failure_mode_allow: true}}\n"}, "?"),
    "a number for the mode": (
        {"forward_client_cert_details: SANITIZE_SET": "forward_client_cert_details: 4"},
        "envoy-certificate-forwarded",
    ),
    "a number for the action": (
        {"headers_with_underscores_action: REJECT_REQUEST": "headers_with_underscores_action: 0"},
        "envoy-underscores",
    ),
    "99 of 100": (
        {CHECK: f"{CHECK}              filter_enabled: {{default_value: {{numerator: 99}}}}\n"},
        "envoy-check-sampled",
    ),
    "a million of a million, but for a runtime value": (
        {
            CHECK: f"{CHECK}              filter_enabled: {{runtime_key: ask.all, default_value: "
            "{numerator: 1000000, denominator: MILLION}}\n",
            "static_resources:\n": "layered_runtime: {layers: [{name: s, static_layer: {ask: {all: 0}}}]}\n"
            "static_resources:\n",
        },
        "envoy-check-sampled",
    ),
    "a runtime that comes from elsewhere": (
        {
            "static_resources:\n": "layered_runtime: {layers: [{name: d, disk_layer: {symlink_root: /r}}]}\n"
            "static_resources:\n"
        },
        "?",
    ),
    "a TypedStruct": (
        {
            f'              "@type": {TYPE}.http.ext_authz.v3.ExtAuthz\n{CHECK}': ""
            '              "@type": type.googleapis.com/xds.type.v3.TypedStruct\n'
            f"              type_url: {TYPE}.http.ext_authz.v3.ExtAuthz\n"
            "              value: {failure_mode_allow: true}\n"
        },
        "envoy-failure-mode-allow",
    ),
    "another name for the filter": (
        {
            FILTER: "          - name: mine\n",
            ROUTE: f"{OPEN}                typed_per_filter_config: {{mine: {PER_ROUTE}}}\n{ROUTE}",
        },
        "envoy-route-unchecked",
    ),
    "the type for the name": (
        {ROUTE: f"{OPEN}                typed_per_filter_config: {{any: {PER_ROUTE}}}\n{ROUTE}"},
        "envoy-route-unchecked",
    ),
    "a FilterConfig": (
        {
            ROUTE: f"{OPEN}                typed_per_filter_config: {{envoy.filters.http.ext_authz: "
            f'{{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}}}\n{ROUTE}'
        },
        "envoy-route-unchecked",
    ),
    "a message in a FilterConfig": (
        {
            ROUTE: f"{OPEN}                typed_per_filter_config: {{envoy.filters.http.ext_authz: "
            f'{{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {PER_ROUTE}}}}}\n{ROUTE}'
        },
        "envoy-route-unchecked",
    ),
    "the virtual host": (
        {
            'domains: ["*"]\n': 'domains: ["*"]\n              typed_per_filter_config: {envoy.filters.http.ext_authz: '
            f"{PER_ROUTE}}}\n"
        },
        "envoy-route-unchecked",
    ),
    "the route configuration": (
        {
            "          route_config:\n": "          route_config:\n            typed_per_filter_config: "
            f"{{envoy.filters.http.ext_authz: {PER_ROUTE}}}\n"
        },
        "envoy-route-unchecked",
    ),
    "a weighted cluster": (
        {
            "route: {cluster: application, timeout: 60s}": "route: {weighted_clusters: {clusters: [{name: application, "
            f"weight: 1, typed_per_filter_config: {{envoy.filters.http.ext_authz: {PER_ROUTE}}}}}]}}}}"
        },
        "envoy-route-unchecked",
    ),
    "the default filter chain": (listener("application", chain="default_filter_chain"), "envoy-way-around"),
    "another cluster of the same address": (
        listener("other") | cluster("other", LOCALHOST),
        "envoy-way-around",
    ),
    "a cluster that was not given": (listener("other"), "?"),
    "a header that names the cluster, unchecked": (
        listener("", routes="[{match: {prefix: /}, route: {cluster_header: x-cluster}}]"),
        "envoy-cluster-from-client",
    ),
    "a plug-in that chooses the cluster": (
        listener("", routes="[{match: {prefix: /}, route: {inline_cluster_specifier_plugin: {extension: {name: x}}}}]"),
        "?",
    ),
    "an unknown filter before the check": (
        {FILTER: f'          - {{name: x, typed_config: {{"@type": type.googleapis.com/mine.v1.Mine}}}}\n{FILTER}'},
        "?",
    ),
    "a filter from elsewhere": (
        {FILTER: f"          - {{name: x, config_discovery: {{config_source: {{ads: {{}}}}}}}}\n{FILTER}"},
        "?",
    ),
    "an unknown transport socket": (
        {
            "        name: envoy.transport_sockets.tls\n        typed_config:\n"
            '          "@type": type.googleapis.com/envoy.'
            "extensions.transport_sockets.tls.v3.DownstreamTlsContext\n          # Stated": "        name: mine\n"
            '        typed_config:\n          "@type": type.googleapis.com/mine.v1.Mine\n          # Stated'
        },
        "?",
    ),
    "a prefix that is too narrow": (
        {
            "{prefix: x-authz-}": "{prefix: X-Authz-}",
            "                    - exact: x-authz-user\n": "",
        },
        "envoy-identity-not-taken",
    ),
    "a mutation of the route's own": (
        {
            ROUTE: f"{ROUTE}                typed_per_filter_config: "
            f'{{clean: {{"@type": {TYPE}.http.header_mutation.v3.'
            "HeaderMutationPerRoute, mutations: {request_mutations: [{append: {header: {key: X-Authz-User, "
            "value: root}}}]}}}\n"
        },
        "envoy-identity-rewritten",
    ),
    "a Host out of the path": (
        {
            "route: {cluster: application,": "route: {host_rewrite_path_regex: {pattern: {regex: x}}, "
            "cluster: application,"
        },
        "envoy-host-from-client",
    ),
    "a pattern in capitals": (
        {
            "              - remove_on_match: {key_matcher: {prefix: x-authz-}}\n": "",
            "                    - exact: x-authz-user\n": "                    - exact: X-Authz-User\n",
        },
        "envoy-identity-not-taken",
    ),
    "a removal that is switched off": (
        {
            "              - remove_on_match: {key_matcher: {prefix: x-authz-}}\n": "",
            "                    - exact: x-authz-user\n": "",
            FILTER: '          - name: clean\n            disabled: true\n            typed_config: {"@type": '
            f"{TYPE}.http.header_mutation.v3.HeaderMutation, mutations: {{request_mutations: "
            "[{remove: x-authz-user}]}}\n" + FILTER,
        },
        "envoy-identity-not-taken",
    ),
    "a removal behind the check": (
        {
            "              - remove_on_match: {key_matcher: {prefix: x-authz-}}\n": "",
            "                    - exact: x-authz-user\n": "",
            "          - name: envoy.filters.http.router\n": "          - name: clean\n"
            '            typed_config: {"@type": '
            f"{TYPE}.http.header_mutation.v3.HeaderMutation, mutations: {{request_mutations: "
            "[{remove: x-authz-user}]}}\n"
            "          - name: envoy.filters.http.router\n",
        },
        "envoy-identity-not-taken",
    ),
    "a filter of the cluster": (
        {
            "            explicit_http_config: {http_protocol_options: {}}\n".removeprefix("    "): ""
            '        http_filters: [{name: x, typed_config: {"@type": '
            f"{TYPE}.http.header_mutation.v3.HeaderMutation}}}}]\n"
            "        explicit_http_config: {http_protocol_options: {}}\n"
        },
        "?",
    ),
    "the admin address in a disguise": (
        {
            "static_resources:\n": "admin: {address: {socketAddress: {address: '::', portValue: 1}}}\n"
            "static_resources:\n"
        },
        "envoy-admin-open",
    ),
}


@pytest.mark.parametrize("how", ENVOY_DISGUISES)
def test_disguised_fault_of_envoy_is_found(how: str) -> None:
    """Or named."""
    changes, rule = ENVOY_DISGUISES[how]
    assert rule in rules_of(changed(ENVOY, changes))


LOCATION = "        location / {\n"
PASS = "proxy_pass http://application;"

NGINX_DISGUISES = {
    "a nested location": (
        {LOCATION: f"{LOCATION}            location /in/ {{ auth_request off; {PASS} }}\n"},
        "nginx-location-unchecked",
    ),
    "the upstream's address": (
        {LOCATION: "        location /in/ { auth_request off; proxy_pass http://localhost:8080/x/; }\n" + LOCATION},
        "nginx-location-unchecked",
    ),
    "a variable with a constant": (
        {
            LOCATION: "        location /in/ { auth_request off; set $to application; proxy_pass http://$to; }\n"
            + LOCATION
        },
        "nginx-location-unchecked",
    ),
    "a variable": (
        {LOCATION: "        location /in/ { auth_request off; proxy_pass http://$arg_to; }\n" + LOCATION},
        "?",
    ),
    "FastCGI": (
        {LOCATION: "        location /in/ { auth_request off; fastcgi_pass 127.0.0.1:8080; }\n" + LOCATION},
        "nginx-location-unchecked",
    ),
    "an if": (
        {LOCATION: f"        location /in/ {{ auth_request off; if ($arg_x) {{ {PASS} }} }}\n{LOCATION}"},
        "nginx-location-unchecked",
    ),
    "a file that is tried": (
        {
            LOCATION: f"        location @app {{ auth_request off; {PASS} }}\n"
            f"        location /in/ {{ auth_request off; try_files $uri @app; }}\n{LOCATION}"
        },
        "nginx-location-unchecked",
    ),
    "a server's own switch": (
        {
            "        listen 8444 ssl default_server;\n": "        listen 8444 ssl default_server;\n"
            "        auth_request off;\n"
        },
        "nginx-server-unchecked",
    ),
    "a rewrite in an if": (
        {
            LOCATION: f"        location /in/ {{ internal; auth_request off; {PASS} }}\n{LOCATION}"
            "            if ($http_authorization) { rewrite ^ /in/x last; }\n"
        },
        "nginx-rewrite-around",
    ),
    "a check by a variable": ({"auth_request /_authz;": "auth_request $where;"}, "?"),
    "a check that leads nowhere": ({"auth_request /_authz;": "auth_request @nowhere;"}, "?"),
    "an unknown directive": ({"    satisfy all;\n": "    satisfy all;\n    auth_mine on;\n"}, "?"),
    "a file that is not there": ({"    satisfy all;\n": "    satisfy all;\n    include missing.conf;\n"}, "?"),
    "code in an unchecked location": (
        {LOCATION: "        location /in/ { auth_request off; js_content main.handle; }\n" + LOCATION},
        "?",
    ),
    "headers of one if": (
        {LOCATION: f"        location /in/ {{ {PASS} proxy_set_header X-Y 1; }}\n{LOCATION}"},
        "nginx-headers-not-inherited",
    ),
    "a map of the client's header": (
        {
            "    server_tokens off;\n": "    map $http_x_mine $mine { default $http_x_mine; }\n",
            "X-Authz-User $authz_user;": "X-Authz-User $mine;",
        },
        "nginx-identity-from-client",
    ),
    "a header in capitals from the client": (
        {"X-Authz-User $authz_user;": "X-AUTHZ-USER $http_X_Authz_User;"},
        "nginx-identity-from-client",
    ),
}


@pytest.mark.parametrize("how", NGINX_DISGUISES)
def test_disguised_fault_of_nginx_is_found(how: str) -> None:
    """Or named."""
    changes, rule = NGINX_DISGUISES[how]
    assert rule in rules_of(changed(NGINX, changes), "nginx.conf")


def test_nginx_dump_is_read_by_its_files() -> None:
    """`nginx -T`: a fault in an included file is found there, at its own line; what is included is not read twice."""
    part = "location /in/ {\n    auth_request off;\n    proxy_pass http://application;\n}\n"
    main = NGINX.replace(LOCATION, f"        include conf.d/*.conf;\n{LOCATION}")
    dump = (
        f"# configuration file /etc/nginx/nginx.conf:\n{main}\n# configuration file /etc/nginx/conf.d/in.conf:\n{part}"
    )
    report = lint_sources([ConfigFile("dump.txt", f"nginx: the configuration file syntax is ok\n{dump}")])
    found = {(one.rule, one.place) for one in report.findings}
    assert found == {("nginx-location-unchecked", "/etc/nginx/conf.d/in.conf:2")}


def test_resources_are_put_together_from_files() -> None:
    """Listeners, routes and clusters of xDS files, which the bootstrap names; without them that is said."""
    head, _, tail = ENVOY.partition("static_resources:\n")
    clusters = tail[tail.index("  clusters:\n") :].replace("  clusters:\n", "clusters:\n").replace("\n  ", "\n")
    bootstrap = head + "dynamic_resources: {lds_config: {path_config_source: {path: /x/lds.yaml}}}\n"
    route = tail[tail.index("          route_config:\n") : tail.index("  # Ordinary TLS")]
    listener = tail[tail.index("  - name: mutual_tls") : tail.index("  # Ordinary TLS")]
    listener = listener.replace(route, "          rds: {route_config_name: routes}\n")
    kind = '  - "@type": type.googleapis.com/envoy.config'
    lds = f"resources:\n{kind}.listener.v3.Listener\n    " + listener[4:].replace("\n", "\n")
    rds = f"resources:\n{kind}.route.v3.RouteConfiguration\n    name: routes\n"
    rds += (
        route.partition("\n")[2]
        .replace("            virtual_hosts", "    virtual_hosts")
        .replace("\n            ", "\n    ")
    )
    rds = rds.replace("{cluster: application, timeout: 60s}", "{cluster_header: x-cluster}")
    files = [ConfigFile("envoy.yaml", bootstrap), ConfigFile("lds.yaml", lds), ConfigFile("cds.yaml", clusters)]
    report = lint_sources(files)
    assert [entry.what.partition(":")[0] for entry in report.not_understood] == [
        "the route configuration routes was not given"
    ]
    report = lint_sources([*files, ConfigFile("rds.yaml", rds)])
    assert {(one.rule, one.file) for one in report.findings} == {("envoy-cluster-from-client", "rds.yaml")}
    assert not report.not_understood


def test_scoped_routes_are_followed() -> None:
    """Inline ones; those of elsewhere are named."""
    begin, end = ENVOY.index("          route_config:\n"), ENVOY.index("  # Ordinary TLS")
    routes = ENVOY[begin:end]
    inline = routes.replace(
        "          route_config:\n",
        "          scoped_routes:\n            name: scopes\n"
        "            scoped_route_configurations_list:\n              scoped_route_configurations:\n"
        "              - name: one\n                route_configuration:\n",
    )
    inside = inline.partition("route_configuration:\n")
    inline = (
        inside[0]
        + inside[1]
        + inside[2].replace("            ", "                  ", 1).replace("\n    ", "\n          ")
    )
    inline = inline.replace("{cluster: application, timeout: 60s}", "{cluster_header: x-cluster}")
    assert "envoy-cluster-from-client" in rules_of(ENVOY.replace(routes, inline))
    elsewhere = "          scoped_routes: {name: scopes, scoped_rds: {scoped_rds_config_source: {ads: {}}}}\n"
    assert "?" in rules_of(ENVOY.replace(routes, elsewhere))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]\n",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(8)),
        "[" * 5_000 + "]" * 5_000,
        "a: b: c\n",
        "",
        "--- 1\n--- 2\n",
    ],
)
def test_text_that_is_no_tree_is_unreadable(text: str) -> None:
    """A circle, a bomb of aliases, a well without a bottom, and what is not one document."""
    with pytest.raises(Unreadable):
        lint_sources([ConfigFile("envoy.yaml", text)])


@pytest.mark.parametrize(
    ("text", "nginx"),
    [
        ("server { listen 80; location / { proxy_pass http://a:1; } }", True),
        ("# a comment: here\n\nuser www-data;\n", True),
        ("static_resources:\n", False),
        ('{"configs": []}', False),
        ("- name: x\n", False),
        ('"static_resources": {}\n', False),
        ("---\nnode: {id: x}\n", False),
        ("nginx: the configuration file is ok\n# configuration file /etc/nginx/nginx.conf:\nuser x;\n", True),
        ("", False),
    ],
)
def test_text_is_known_by_how_it_begins(text: str, nginx: bool) -> None:
    """As nginx's, or as Envoy's."""
    assert is_nginx(ConfigFile("x", text)) is nginx


def test_second_bootstrap_is_named() -> None:
    """Two Envoys are not one."""
    report = lint_sources([ConfigFile("a.yaml", ENVOY), ConfigFile("b.yaml", ENVOY)])
    assert (
        NotUnderstood("b.yaml", 8, "a second bootstrap: give the files of one Envoy at a time") in report.not_understood
    )


@pytest.mark.slow
def test_value_of_another_kind_is_no_error() -> None:
    """Envoy refuses it; lint says something or nothing, but says it."""
    shipped = yaml.safe_load(ENVOY)
    paths = list(paths_in(shipped, ()))[::4]
    for number, path in enumerate(paths):
        config = copy.deepcopy(shipped)
        at(config, path[:-1])[path[-1]] = ("x", 7, [], {}, None, [None], {"a": None})[number % 7]
        rules_of(dumped(config), ours=ENVOY_OURS)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["", " x", " $x", " ~ ("])
def test_directive_with_other_words_is_no_error(words: str) -> None:
    """Nor is it one of nginx's."""
    for found in re.finditer(r"^( *[a-z_]+) [^;{\n]+([;{])", NGINX, re.MULTILINE):
        with contextlib.suppress(Unreadable):
            text = f"{NGINX[: found.start()]}{found[1]}{words} {found[2]}{NGINX[found.end() :]}"
            rules_of(text, "nginx.conf", ENVOY_OURS)
