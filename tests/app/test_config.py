"""Settings: what is wrong is named, what is unknown is an error, defaults are safe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.certificates import Authority

from authz.app.config import load_settings, parse_settings
from authz.app.listeners import listener_of
from authz.app.variables import passed_over
from authz.errors import ConfigError
from authz.identity.keys import JwksCache
from authz.identity.token import BearerToken
from authz.model import ClientRequestHeaders, IndicatorForm

TLS = {"certificate": "a.pem", "key": "a.key", "client_ca": "ca.pem", "names": ["gateway.test"]}
RFC9440 = {"form": "rfc9440", "header": "client-cert"}
BARE = {"kind": "user-name", "header": "x-user"}
KEYS = JwksCache(monotonic=lambda: 0.0, warn=print)


def parse(**values: Any) -> Any:
    """Settings of these values."""
    return parse_settings(values, origin="test")


def indicator(**values: Any) -> dict[str, Any]:
    """A listener with this statement."""
    return {"listener": [{"client_cert_indicator": values}]}


def unstated(**certificate: Any) -> dict[str, Any]:
    """A listener whose proxy states nothing."""
    return {"listener": [{"certificate": RFC9440 | certificate, "client_cert_indicator": {"form": "none"}}]}


def as_envoy(form: str, **certificate: Any) -> dict[str, Any]:
    """A listener whose proxy states a digest as Envoy does."""
    return {"listener": [{"certificate": {"form": form, "header": "x-a"} | certificate}]}


def requested(organization: str | None, *identity: dict[str, str], **values: Any) -> dict[str, Any]:
    """A listener that takes host, method and target from there, for one organization or all."""
    listener: dict[str, Any] = {"client_request": values}
    listener |= {} if organization is None else {"organizations": [organization]}
    return {"listener": [listener | ({"identity": list(identity)} if identity else {})]}


def test_defaults_are_the_shipped_proxys() -> None:
    """A Unix socket for owner and group, the payload of jwt_authn, Envoy's statement."""
    (settings,) = parse().listener
    assert (settings.address, settings.socket_mode) == ("unix:/run/authz/authz.sock", 0o660)
    assert settings.client_cert_indicator.form is IndicatorForm.ENVOY_FINGERPRINT
    listener = listener_of(settings, KEYS)
    assert listener.header.certificate_header == "x-forwarded-client-cert"
    assert len(listener.identity) == 1
    assert listener.organizations is None


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"unknown": 1}, "unknown"),
        ({"listener": [{"unknown": 1}]}, "listener.0.unknown"),
        ({"listener": []}, "listener"),
        ({"listener": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"listener": [{"name": "A B"}]}, "listener.0.name"),
        ({"listener": [{"identity": []}]}, "identity"),
        ({"listener": [{"identity": [{"kind": "magic"}]}]}, "identity"),
        ({"listener": [{"identity": [{"kind": "user-name", "header": "x-user"}]}]}, "organization_header"),
        ({"listener": [{"identity": [{"kind": "payload", "header": "X-Payload"}]}]}, "header"),
        ({"listener": [{"identity": [{"kind": "payload", "header": "x_payload"}]}]}, "header"),
        ({"listener": [{"certificate": {"form": "guess"}}]}, "form"),
        ({"listener": [{"certificate": {"form": "escaped-pem"}}]}, "name of its header"),
        ({"listener": [{"certificate": {"chain_header": "client-cert-chain"}}]}, "no chain_header"),
        ({"listener": [{"certificate": {"form": "base64-der", "header": "x-a", "chain_header": "x-b"}}]}, "no chain"),
        (unstated(header="x-a", chain_header="x-a"), "x-a is named"),
        (
            {"listener": [{"certificate": {"header": "x-a"}, "client_cert_indicator": {"header": "x-a"}}]},
            "x-a is named for two things",
        ),
        (
            {
                "listener": [
                    {
                        "certificate": {"form": "rfc9440", "header": "a"},
                        "trusted_proxies": [{"anchors": "a", "names": "b"}],
                    }
                ]
            },
            "trusted_proxies",
        ),
        ({"listener": [{"certificate": {"none": [""]}}]}, "xfcc has no value for none"),
        ({"listener": [{"certificate": RFC9440 | {"none": [" "]}}]}, "none"),
        ({"listener": [{"certificate": RFC9440 | {"none": ["é"]}}]}, "none"),
        (unstated(none=[""]), "must state whether one was shown"),
        (unstated(none=["(null)", "::"]), "must state whether one was shown"),
        (indicator(form="flag"), "flag needs the values"),
        (indicator(form="flag", presented=["1"]), "flag needs the values"),
        (indicator(form="flag", presented=["1"], none=["1"]), "in common"),
        (indicator(form="flag", presented=["1"], none=[""]), "one that is empty"),
        (indicator(form="flag", presented=["1"], none=["0"], prefix="x"), "prefix is for sha256"),
        (indicator(form="sha256", presented=["1"]), "values of its own"),
        (indicator(form="sha256", none=["x" + "a" * 64]), "holds a SHA-256"),
        (indicator(form="sha256"), "a word for no certificate"),
        (indicator(form="sha256", prefix="sha256=", none=["none", "sha256="]), "a word for no certificate"),
        (indicator(form="sha256", none=["none", ""]), "a word for no certificate"),
        (indicator(form="sha256", prefix="SHA256:", none=["SHA256:-"]), "a word for no certificate"),
        (as_envoy("escaped-pem", none=[""]), "too large for them"),
        (as_envoy("rfc9440"), "envoy-fingerprint is Envoy's"),
        (as_envoy("base64-der"), "envoy-fingerprint is Envoy's"),
        (unstated(none=["-----BEGIN CERTIFICATE-----  -----END CERTIFICATE-----"]), "too large for them"),
        (unstated(none=["-----BEGIN%20CERTIFICATE-----%0a%0a-----END%20CERTIFICATE-----%0a"]), "too large for them"),
        (indicator(form="nginx-verify", none=["NONE"]), "values of its own"),
        (indicator(form="none", prefix="x"), "values of its own"),
        (requested("a", preset="x-forwarded", host_header="x-a"), "excludes headers"),
        (requested("a", preset="x-hoping"), "preset"),
        (requested("a", url_header="x-a", host_header="x-b"), "url_header holds"),
        (requested("a", host_header="x-forwarded-client-cert"), "is named for two things"),
        (requested("a", host_header="x-authz-peer"), "x-authz-peer is named for two things"),
        (requested("a", host_header="x-authz-payload"), "is named for two things"),
        (requested("a", host_header="x-a", method_header="x-a"), "x-a is named for two things"),
        (requested(None, preset="x-forwarded"), "list the listener's organizations"),
        (requested(None, preset="x-original"), "list the listener's organizations"),
        (requested(None, host_header="x-a"), "list the listener's organizations"),
        (requested("a", {"kind": "user-name", "header": "x-user"}, preset="x-forwarded"), "organization_header"),
        (requested("a", {"kind": "user-name", "header": "x-user"}, url_header="x-a"), "organization_header"),
        (requested("a", BARE | {"organization_header": "x-forwarded-host"}, preset="x-forwarded"), "two things"),
        (requested("a", BARE | {"organization_header": "host"}), "host is named for two things"),
        (requested("a", BARE | {"organization_header": "host"}, method_header="x-m"), "host is named for two things"),
        (requested("a", BARE | {"organization_header": BARE["header"]}), "is named for two things"),
        ({"listener": [{"tls": TLS}]}, "TCP address"),
        ({"listener": [{"address": "[::1]:1", "tls": TLS, "unsafe_plaintext": True}]}, "unsafe_plaintext"),
        ({"listener": [{"address": "[::1]:1", "tls": TLS | {"names": []}}]}, "names"),
        ({"listener": [{"address": "[::1]:1", "tls": {"certificate": "a", "key": "b"}}]}, "client_ca"),
        ({"listener": [{"prefix": "v1"}]}, "prefix"),
        ({"listener": [{"prefix": "/v1/"}]}, "prefix"),
        ({"limits": {"concurrent_checks": 0}}, "concurrent_checks"),
        ({"limits": {"check_seconds": 0}}, "check_seconds"),
    ],
)
def test_setting_that_is_wrong_is_named(values: dict[str, Any], named: str) -> None:
    """With where it stands."""
    with pytest.raises(ConfigError, match=named) as caught:
        parse(**values)
    assert "docs/configuration.md" in caught.value.hint


@pytest.mark.parametrize(
    "mode", [440, 660, 0o660, 432.0, True, None, "", "660", "0999", "0o660", "+660", "01660", "0660 "]
)
def test_mode_that_is_not_octal_text_is_refused_with_a_hint(mode: object) -> None:
    """A mode is text of four octal digits: the integer 440 would silently be 0670."""
    with pytest.raises(ConfigError, match=r"listener.0.socket_mode: .*text of four octal digits.*write \"0660\""):
        parse(listener=[{"socket_mode": mode}])


@pytest.mark.parametrize("mode", ["0661", "0662", "0664", "0666", "0777", "0007"])
def test_mode_open_to_others_is_refused_with_a_hint(mode: str) -> None:
    """Every account that may connect can claim any certificate, so a mode gives others no right at all."""
    with pytest.raises(ConfigError, match=f'{mode} lets every account .* write "0660", and set socket_group'):
        parse(listener=[{"socket_mode": mode}])


@pytest.mark.parametrize(("mode", "bits"), [("0660", 0o660), ("0600", 0o600), ("0770", 0o770)])
def test_mode_is_read_as_octal(mode: str, bits: int) -> None:
    """Text of four octal digits, closed to others, gives these bits."""
    assert parse(listener=[{"socket_mode": mode}]).listener[0].socket_mode == bits


@pytest.mark.parametrize("form", ["rfc9440", "escaped-pem", "base64-der"])
def test_other_forms_are_settings_of_the_listener(form: str) -> None:
    """With the header that the operator names."""
    certificate = {"form": form, "header": "client-cert"}
    if form == "rfc9440":
        certificate["chain_header"] = "client-cert-chain"
    values = {"certificate": certificate, "client_cert_indicator": {"form": "nginx-verify"}}
    rules = listener_of(parse(listener=[values]).listener[0], KEYS).header
    assert (rules.form, rules.certificate_header) == (form, "client-cert")
    assert rules.chain_header == certificate.get("chain_header")


def test_spellings_of_a_proxy_are_settings_of_its_listener() -> None:
    """No certificate, the statement, and where the client's host is."""
    values = {
        "certificate": RFC9440 | {"none": ["::", ":{placeholder}:"]},
        "client_cert_indicator": {"form": "sha256", "prefix": "sha256=", "none": ["none"]},
        "client_request": {"preset": "x-forwarded"},
        "organizations": ["acme"],
        "identity": [BARE | {"organization_header": "x-organization"}],
    }
    listener = listener_of(parse(listener=[values]).listener[0], KEYS)
    assert listener.header.none_values == {b"::", b":{placeholder}:"}
    assert (listener.header.indicator_prefix, listener.header.indicator_none) == (b"sha256=", {b"none"})
    names = ClientRequestHeaders("x-forwarded-host", None, "x-forwarded-method", "x-forwarded-uri")
    assert listener.client_request == names
    flag = {"form": "flag", "presented": ["1"], "none": ["0"]}
    rules = listener_of(parse(listener=[{"client_cert_indicator": flag}]).listener[0], KEYS).header
    assert (rules.indicator_presented, rules.indicator_none) == ({b"1"}, {b"0"})


@pytest.mark.parametrize("values", [{}, {"method_header": "x-method"}, {"host_header": "host"}])
def test_host_that_the_proxy_routes_by_needs_no_list_of_organizations(values: dict[str, str]) -> None:
    """Host itself, whatever is named for the rest."""
    assert parse(**requested(None, **values)).listener[0].organizations is None


def test_value_for_none_that_a_proxy_writes_for_nothing_else_needs_no_statement() -> None:
    """Apache's `(null)`: if the header is lost, the request is refused."""
    assert parse(**unstated(none=["(null)"])).listener[0].certificate.none == ("(null)",)


def test_bare_user_name_is_for_a_listener_of_one_organization() -> None:
    """Else nothing ties it."""
    identity = [{"kind": "user-name", "header": "x-user"}]
    (listener,) = parse(listener=[{"identity": identity, "organizations": ["acme"]}]).listener
    assert listener_of(listener, KEYS).organizations == frozenset({"acme"})


def test_file_is_read_and_a_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to one setting of a section."""
    file = tmp_path / "authz.toml"
    file.write_text('database = "sqlite:///a.db"\n[ops]\naddress = "127.0.0.1:1"\n[[listener]]\nsocket_mode = "0600"\n')
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///b.db")
    monkeypatch.setenv("AUTHZ_OPS__ADDRESS", "127.0.0.1:2")
    settings = load_settings(file)
    assert (settings.database, settings.ops.address) == ("sqlite:///b.db", "127.0.0.1:2")
    assert settings.listener[0].socket_mode == 0o600


@pytest.mark.parametrize("content", [b"= nonsense", b"\xff\xfe"])
def test_file_that_is_not_toml_is_an_error(tmp_path: Path, content: bytes) -> None:
    """With its path."""
    file = tmp_path / "authz.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="not TOML"):
        load_settings(file)


def test_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """A path that was given is meant."""
    with pytest.raises(ConfigError, match="cannot read"):
        load_settings(tmp_path / "none.toml")


def test_gateways_are_read_from_their_file(tmp_path: Path) -> None:
    """One that cannot be read, or holds nothing, refuses to start."""
    file = tmp_path / "gateways.pem"
    file.write_text(Authority.root("Gateways").pem)
    hops = [{"anchors": str(file), "names": ["gateway.test"]}]
    listener = listener_of(parse(listener=[{"trusted_proxies": hops}]).listener[0], KEYS)
    assert listener.trusted_proxies[0].names == frozenset({"gateway.test"})
    for content in ("", "nonsense"):
        file.write_text(content)
        with pytest.raises(ConfigError, match="cannot be read"):
            listener_of(parse(listener=[{"trusted_proxies": hops}]).listener[0], KEYS)


def test_token_is_an_identity_source_beside_others() -> None:
    """Several must agree; that is the core's to see to."""
    identity = [{"kind": "payload"}, {"kind": "token"}]
    listener = listener_of(parse(listener=[{"identity": identity}]).listener[0], KEYS)
    assert isinstance(listener.identity[1], BearerToken)


@pytest.mark.parametrize(
    ("kind", "setting", "attribute", "default"),
    [
        ("token", "header", "_header", "authorization"),
        ("payload", "status_header", "status_header", "x-authz-token-status"),
    ],
)
def test_header_of_an_identity_source_is_of_ones_choice(kind: str, setting: str, attribute: str, default: str) -> None:
    """In lower case, without underscores."""
    for given, expected in (({}, default), ({setting: "x-mine"}, "x-mine")):
        listener = listener_of(parse(listener=[{"identity": [{"kind": kind, **given}]}]).listener[0], KEYS)
        assert getattr(listener.identity[0], attribute) == expected
    for wrong in ("X-Mine", "x_mine", ""):
        with pytest.raises(ConfigError, match=setting):
            parse(listener=[{"identity": [{"kind": kind, setting: wrong}]}])


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("AUTHZ_OPS_ADDRESS", "AUTHZ_OPS__ADDRESS"),
        ("AUTHZ_DATABSE", "AUTHZ_DATABASE"),
        ("AUTHZ_LIMITS__WORKER", "AUTHZ_LIMITS__WORKERS"),
        ("AUTHZ_CRL_GRACE", "AUTHZ_CRL__GRACE"),
        ("authz_databse", "AUTHZ_DATABASE"),
        ("AUTHZ_DATABASE__URL", "AUTHZ_DATABASE"),
        ("AUTHZ_LISTENER__0__NAME", ""),
        ("AUTHZ_ZZZ", ""),
        ("AUTHZ_", ""),
        ("AUTHZ_HISTORY__DAY", "AUTHZ_HISTORY__DAYS"),
    ],
)
def test_variable_that_names_no_setting_is_refused(
    variable: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the nearest setting, written as a variable, where one is like it."""
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match=f"variable {variable} names no setting") as caught:
        load_settings()
    assert str(caught.value).endswith(f"; {nearest} does" if nearest else "names no setting")


def test_variables_that_kubernetes_makes_of_services_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a Service called authz, and of one called authz-ops; what is a setting is read all the same."""
    monkeypatch.setenv("AUTHZ_DATABASE", "sqlite:///kept.db")
    names = [
        f"AUTHZ_{service}{name}"
        for service in ("", "OPS_")
        for name in (
            "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_METRICS", "PORT", "PORT_9901_TCP", "PORT_9901_TCP_PROTO",
            "PORT_9901_TCP_PORT", "PORT_9901_TCP_ADDR",
        )
    ]  # fmt: skip
    for name in names:
        monkeypatch.setenv(name, "tcp://10.0.0.1:9901")
    assert load_settings().database == "sqlite:///kept.db"
    assert sorted(passed_over()) == sorted(names)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"databse": "x"}, "test: databse is no setting; database is one"),
        ({"crl": {"url": []}}, "test: crl.url is no setting; crl.urls is one"),
        ({"listener": [{"adress": "x"}]}, "test: listener.0.adress is no setting; listener.address is one"),
        ({"zzzz": 1}, "test: zzzz is no setting"),
        ({"listener": [{"name": "A"}]}, "test: listener.0.name: String should match"),
        ({"listener": [{"identity": [{}]}]}, "test: listener.0.identity.0: kind is missing"),
        ({"listener": {}}, "test: listener: a list is wanted"),
        ({"limits": []}, "test: limits: a section with settings is wanted"),
        ({"crl": {"networks": ["x"]}}, "test: crl.networks.0: 'x' does not appear to be"),
        ({"crl": {"networks": ["10.0.0.1/8"]}}, "test: crl.networks.0: 10.0.0.1/8 has host bits set"),
        ({"limits": {"workers": 0}}, "test: limits.workers: Input should be greater than or equal to 1"),
        ({"crl": {"first_fetch_wait_seconds": 30}}, "test: crl.first_fetch_wait_seconds must be below"),
    ],
)
def test_mistake_is_one_sentence(values: dict[str, Any], message: str) -> None:
    """Where it stands, and what is wrong there; nothing of the library's own words about itself."""
    with pytest.raises(ConfigError) as caught:
        parse(**values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert not re.search(r"Value error|\bTuple\b|function|lax", str(caught.value))


@pytest.mark.parametrize("value", ["not json", "[", '{"name": 1}', "[1]", "\x01"])
def test_variable_of_a_list_that_is_no_json_is_one_sentence(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback, and one line."""
    monkeypatch.setenv("AUTHZ_LISTENER", value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "listener" in str(caught.value).lower()
    assert "source" not in str(caught.value)
    assert "\n" not in str(caught.value)
