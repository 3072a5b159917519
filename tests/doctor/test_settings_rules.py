"""The proxies' configurations beside the service's own settings: as shipped they agree; each disagreement is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import proxy_tls
from support.doctor_faults import ENVOY, ENVOY_OURS, NGINX, changed, rules_of

from authz.doctor.rules import RULES
from authz.doctor.service_settings import OurListener, Ours

UPSTREAM_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
NGINX_OURS = replace(
    ENVOY_OURS,
    listeners=(
        replace(
            ENVOY_OURS.listeners[0],
            name="nginx",
            address="unix:/run/authz/nginx.sock",
            certificate_header="x-ssl-client-cert",
            certificate_form="escaped-pem",
            statement_form="nginx-verify",
            identity_headers=("authorization",),
            token_headers=("authorization",),
        ),
    ),
)
OURS = {"envoy": ENVOY_OURS, "nginx": NGINX_OURS}
TEXTS = {"envoy": ("envoy.yaml", ENVOY), "nginx": ("nginx.conf", NGINX)}

DISAGREEMENTS: dict[str, dict[str, Any]] = {
    "envoy-settings-address": {"address": "unix:/run/elsewhere.sock"},
    "envoy-settings-form": {"certificate_form": "xfcc-json"},
    "envoy-settings-statement": {"statement_header": "x-peer"},
    "envoy-settings-request": {"host_header": "x-forwarded-host"},
    "envoy-settings-user": {"identity_headers": ("x-user",)},
    "envoy-settings-path": {"prefix": "/v2/check"},
    "envoy-settings-transport": {"tls": True, "names": ("proxy.test",)},
    "envoy-settings-hops": {"hops": 1},
    "nginx-settings-address": {"address": "unix:/run/elsewhere.sock"},
    "nginx-settings-form": {"certificate_header": "ssl-client-cert"},
    "nginx-settings-statement": {"statement_form": "envoy-fingerprint"},
    "nginx-settings-request": {"host_header": "x-forwarded-host"},
    "nginx-settings-user": {"identity_headers": ("x-authz-payload",)},
    "nginx-settings-path": {"auth_request_path": "/v2/auth"},
    "nginx-settings-transport": {"tls": True, "names": ("proxy.test",)},
}
"""What the listener says otherwise than the shipped configuration."""

CHANGES = {
    "envoy-settings-user-from-client": {
        "              - remove_on_match: {key_matcher: {prefix: x-authz-}}\n": "",
    },
    "envoy-settings-hosts": {'domains: ["*"]': 'domains: ["*.other.test", "acme.example.test:9999x"]'},
    "nginx-settings-user-from-client": {},
    "nginx-settings-hosts": {"server_name _;": "server_name .other.test ~^x;"},
}


@pytest.mark.parametrize("proxy", OURS)
def test_shipped_configuration_agrees_with_its_settings(proxy: str) -> None:
    """Nothing is found."""
    name, text = TEXTS[proxy]
    assert rules_of(text, name, OURS[proxy]) == set()


@pytest.mark.parametrize("rule", DISAGREEMENTS)
def test_disagreement_is_named(rule: str) -> None:
    """By its rule."""
    proxy = rule.partition("-")[0]
    ours = OURS[proxy]
    other: tuple[OurListener, ...] = (replace(ours.listeners[0], **DISAGREEMENTS[rule]),)
    name, text = TEXTS[proxy]
    assert rule in rules_of(text, name, replace(ours, listeners=other))


@pytest.mark.parametrize("proxy", OURS)
def test_value_for_none_that_the_proxy_never_sends_is_named(proxy: str) -> None:
    """Every request without a certificate would be refused."""
    name, text = TEXTS[proxy]
    ours = replace(OURS[proxy], listeners=(replace(OURS[proxy].listeners[0], none_values=("::",)),))
    assert f"{proxy}-settings-form" in rules_of(text, name, ours)


def test_host_that_the_proxy_sends_in_its_header_is_agreed() -> None:
    """Of either proxy."""
    listener = replace(NGINX_OURS.listeners[0], host_header="x-original-url")
    text = NGINX.replace(
        "proxy_set_header X-Original-URI $request_uri;", "proxy_set_header X-Original-URL https://$host$request_uri;"
    )
    assert "nginx-settings-request" not in rules_of(text, "nginx.conf", replace(NGINX_OURS, listeners=(listener,)))


@pytest.mark.parametrize("proxy", OURS)
def test_proxy_that_gives_up_first_is_named(proxy: str) -> None:
    """Before the service answers."""
    name, text = TEXTS[proxy]
    assert f"{proxy}-settings-timeout" in rules_of(text, name, replace(OURS[proxy], check_seconds=5))


@pytest.mark.parametrize("rule", CHANGES)
def test_change_of_the_proxys_side_is_named(rule: str) -> None:
    """A user's header that is the client's own; a host that nothing serves."""
    proxy = rule.partition("-")[0]
    name, text = TEXTS[proxy]
    ours: Ours = OURS[proxy]
    if rule == "nginx-settings-user-from-client":
        ours = replace(ours, listeners=(replace(ours.listeners[0], identity_headers=("x-user",)),))
        text = text.replace(
            "X-Original-URI $request_uri;", "X-Original-URI $request_uri; proxy_set_header X-User $http_x_user;"
        )
    assert rule in rules_of(changed(text, CHANGES[rule]), name, ours)


@pytest.mark.parametrize("proxy", OURS)
def test_token_in_a_named_header_is_the_clients_to_write(proxy: str) -> None:
    """The service verifies it; what is named is only that the proxy must pass it on."""
    header = {"identity_headers": ("cf-access-jwt-assertion",), "token_headers": ("cf-access-jwt-assertion",)}
    ours = replace(OURS[proxy], listeners=(replace(OURS[proxy].listeners[0], **header),))
    name, text = TEXTS[proxy]
    assert rules_of(text, name, ours) == {f"{proxy}-settings-user"}
    passed = {
        "envoy": ("- exact: x-authz-payload", "- exact: cf-access-jwt-assertion"),
        "nginx": ("Authorization $http_authorization;", "Cf-Access-Jwt-Assertion $http_cf_access_jwt_assertion;"),
    }
    assert rules_of(text.replace(*passed[proxy]), name, ours) == set()


@pytest.mark.parametrize("proxy", OURS)
def test_certificate_of_another_name_is_named(proxy: str, tmp_path: Path) -> None:
    """The proxy's own, where its file can be read; with the right name, or without the file, nothing is said."""
    rule, name = f"{proxy}-settings-names", "envoy.yaml" if proxy == "envoy" else "nginx.conf"
    port = "authz.internal.example:9443"
    ours = replace(
        OURS[proxy], listeners=(replace(OURS[proxy].listeners[0], address="0.0.0.0:9443", tls=True, names=("a",)),)
    )
    for certificate, found in ((proxy_tls.proxy("b"), True), (proxy_tls.proxy("a"), False), (None, False)):
        path = tmp_path / "proxy.pem"
        path.write_text(certificate.pem) if certificate else path.unlink()
        assert (rule in rules_of(over_tls(proxy, path, port), name, ours)) is found


def over_tls(proxy: str, certificate: Path, port: str) -> str:
    """The shipped configuration, which asks by TLS and shows a certificate."""
    if proxy == "nginx":
        text = NGINX.replace("server unix:/run/authz/nginx.sock", f"server {port}").replace(
            "http://authz/", "https://authz/"
        )
        return text.replace(
            "    server_tokens off;\n", f"    proxy_ssl_certificate {certificate};\n    proxy_ssl_verify on;\n"
        )
    pipe = "{pipe: {path: /run/authz/authz.sock}}"
    host, _, number = port.rpartition(":")
    tls = f'{{name: tls, typed_config: {{"@type": {UPSTREAM_TLS}, common_tls_context: {{tls_certificates: '
    tls += f"[{{certificate_chain: {{filename: {certificate}}}}}]}}}}}}"
    text = ENVOY.replace(pipe, f"{{socket_address: {{address: {host}, port_value: {number}}}}}")
    return text.replace("  - name: authz\n    type", f"  - name: authz\n    transport_socket: {tls}\n    type")


def test_every_rule_over_settings_is_here() -> None:
    """None is unproven."""
    tried = {*DISAGREEMENTS, *CHANGES, *(f"{proxy}-settings-{kind}" for proxy in OURS for kind in ("timeout", "names"))}
    assert tried == {rule.id for rule in RULES if "-settings-" in rule.id}


@pytest.mark.parametrize(
    ("asked", "listens", "reached"),
    [
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "unix:/b", False),
        ("unix:/a", "127.0.0.1:1", False),
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("authz.internal:9443", "0.0.0.0:9443", True),
        ("authz.internal:9443", "10.0.0.1:9443", False),
        ("[::1]:1", "[::]:1", True),
    ],
)
def test_address_is_the_listeners(asked: str, listens: str, reached: bool) -> None:
    """By socket, or by port at any address."""
    assert replace(ENVOY_OURS.listeners[0], address=listens).at(asked) is reached
