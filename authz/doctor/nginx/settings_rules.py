"""Rules that compare nginx's configuration with the service's own settings (`--config`)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from authz.doctor.findings import Hit, Rule, Severity, rule
from authz.doctor.nginx.model import Location, NginxModel, hit
from authz.doctor.proxy_names import names_in_file
from authz.doctor.service_settings import DISAGREEMENT, OurListener, asked_at


def _asked(model: NginxModel, check: Location) -> list[OurListener]:
    return asked_at(model.ours, model.places(check))


def _met(model: NginxModel) -> Iterator[tuple[Location, OurListener]]:
    for check in model.checks:
        for listener in _asked(model, check):
            yield check, listener


@rule("nginx-settings-address", Severity.FATAL, "[[listener]] address", proof=DISAGREEMENT)
def _address(model: NginxModel) -> Iterator[Hit]:
    """nginx asks where the service does not listen.

    No request is allowed, or something else answers there.
    """
    for check in model.checks:
        if model.ours and check.passes and model.places(check) and not _asked(model, check):
            where = ", ".join(listener.address for listener in model.ours.listeners)
            what = f"nginx asks at {', '.join(sorted(model.places(check)))}; the service listens at {where}"
            yield hit(check.passes, what, f"ask where {model.ours.file} says, or change it there")


@rule("nginx-settings-form", Severity.FATAL, "[listener.certificate]", proof=DISAGREEMENT)
def _form(model: NginxModel) -> Iterator[Hit]:
    """nginx hands certificates over in another form or header than the listener takes.

    Every certificate is header_malformed, or missing.
    """
    for check, listener in _met(model):
        header, value = listener.certificate_header, check.sends(listener.certificate_header)
        if listener.certificate_form != "escaped-pem" or "$ssl_client_escaped_cert" not in value:
            what = f"listener {listener.name} reads {header} as {listener.certificate_form}, nginx sends {value or '-'}"
            yield _sent(check, header, "$ssl_client_escaped_cert", what)
        if listener.none_values:
            what = f"listener {listener.name} refuses without {header}, which nginx sends with a certificate alone"
            yield hit(check.setters.get(header) or check.directive, what, "take none out of [listener.certificate]")


@rule("nginx-settings-request", Severity.FATAL, "[listener.client_request]", proof=DISAGREEMENT)
def _request_host(model: NginxModel) -> Iterator[Hit]:
    """nginx does not send the client's host in the header that the listener reads it from.

    Every request is host_malformed; or, where nginx passes headers on, the client chooses the organization.
    """
    for check, listener in _met(model):
        header, value = listener.host_header, check.sends(listener.host_header)
        if header != "host" and not _HOST.search(value):
            what = (
                f"listener {listener.name} reads the host from {header}, nginx sends {value or 'what the client wrote'}"
            )
            yield _sent(check, header, "$host", what)


_HOST: Final = re.compile(r"\$(host|http_host)\b")


def _sent(check: Location, header: str, value: str, what: str) -> Hit:
    setter = check.setters.get(header)
    first = setter or next(iter(check.setters.values()), check.passes or check.directive)
    line = f"proxy_set_header {header} {value};"
    return hit(first, what, "send what the listener reads", setter.replaced(line) if setter else first.preceded(line))


@rule("nginx-settings-statement", Severity.FATAL, "[listener.client_cert_indicator]", proof=DISAGREEMENT)
def _statement(model: NginxModel) -> Iterator[Hit]:
    """nginx does not state whether a certificate was shown, as the listener wants it.

    Every request is refused: proxy_statement_missing or proxy_statement_contradicts.
    """
    for check, listener in _met(model):
        header, value = listener.statement_header, check.sends(listener.statement_header)
        if listener.statement_form == "none":
            continue
        if listener.statement_form != "nginx-verify" or value != "$ssl_client_verify":
            what = f"listener {listener.name} wants {header} as {listener.statement_form}, nginx sends {value or '-'}"
            yield _sent(check, header, "$ssl_client_verify", what)


@rule("nginx-settings-user", Severity.FATAL, "[[listener.identity]]", proof=DISAGREEMENT)
def _user(model: NginxModel) -> Iterator[Hit]:
    """what the listener reads the user from does not reach the service.

    Every request is refused: identity_missing or token_missing.
    """
    for check, listener in _met(model):
        passed = check.value("proxy_pass_request_headers", "on") != "off"
        for header in listener.identity_headers:
            sends = check.sends(header).strip('"')
            kept = passed and header not in check.setters and header in listener.token_headers
            if not sends and not kept:
                what = f"listener {listener.name} reads the user from {header}, which nginx does not send"
                yield _sent(check, header, f"$http_{header.replace('-', '_')}", what)


@rule(
    "nginx-settings-user-from-client",
    Severity.FATAL,
    "[[listener.identity]]; docs/nginx.md",
    proof="that client's headers reach the service is shown by nginx-check-headers-passed",
)
def _user_from_client(model: NginxModel) -> Iterator[Hit]:
    """the header that the listener reads the user from is the client's own.

    A client names the user: nginx verifies no token.
    """
    for check, listener in _met(model):
        passed = check.value("proxy_pass_request_headers", "on") != "off"
        for header in listener.identity_headers:
            value = check.sends(header)
            if header not in listener.token_headers and ("$http_" in value or (passed and header not in check.setters)):
                what = f"the service believes {header}, which is the client's own"
                yield hit(
                    check.setters.get(header) or check.directive, what, 'identity = [{kind = "token"}] in the settings'
                )


@rule("nginx-settings-path", Severity.FATAL, "[[listener]] auth_request_path", proof=DISAGREEMENT)
def _path(model: NginxModel) -> Iterator[Hit]:
    """nginx asks at another path than the listener's.

    The service answers 404, which nginx makes 500.
    """
    for check, listener in _met(model):
        passes = check.passes
        path = re.sub(r"^\w+://(unix:[^:]+:?|[^/]*)", "", passes.arg) if passes else ""
        if passes and path.split("?")[0] != listener.auth_request_path:
            what = (
                f"nginx asks for {path or check.path}, listener {listener.name} answers at {listener.auth_request_path}"
            )
            asked = passes.arg.removesuffix(path) + listener.auth_request_path
            yield hit(passes, what, "ask there", passes.replaced(f"proxy_pass {asked};"))


@rule("nginx-settings-transport", Severity.FATAL, "[listener.tls]", proof=DISAGREEMENT)
def _transport(model: NginxModel) -> Iterator[Hit]:
    """nginx and the listener do not agree on TLS.

    No connection comes about: every request gets 500.
    """
    for check, listener in _met(model):
        speaks = bool(check.passes and check.passes.arg.startswith("https://"))
        shows = check.scalar("proxy_ssl_certificate") is not None
        if listener.tls and not (speaks and shows):
            names = ", ".join(listener.names)
            what = f"listener {listener.name} demands a certificate of the proxy ({names}), none is shown"
            yield hit(check.passes or check.directive, what, "show one (deploy/nginx-mtls.conf)")
        if speaks and not listener.tls:
            yield hit(check.passes or check.directive, f"listener {listener.name} speaks no TLS", "ask with http://")


@rule("nginx-settings-names", Severity.FATAL, "[listener.tls] names; where the file can be read", proof=DISAGREEMENT)
def _names(model: NginxModel) -> Iterator[Hit]:
    """nginx's own certificate has none of the names that the listener lets in.

    Every handshake fails: every request gets 500.
    """
    for check, listener in _met(model):
        shown = check.scalar("proxy_ssl_certificate") if listener.tls else None
        names = None if shown is None else names_in_file(shown.arg)
        if shown is not None and names is not None and names.isdisjoint(listener.names):
            shown_names, wanted = ", ".join(sorted(names)) or "no name", ", ".join(listener.names)
            what = f"nginx's certificate is for {shown_names}, listener {listener.name} lets {wanted} in"
            yield hit(shown, what, "show one with that name, or add the name there")


@rule("nginx-settings-timeout", Severity.WARNING, "limits.check_seconds; proxy_read_timeout", proof=DISAGREEMENT)
def _timeout(model: NginxModel) -> Iterator[Hit]:
    """nginx gives up before the service does.

    A check that waits for a CRL is cut off, and its reason is lost.
    """
    for check, _ in _met(model):
        setting = check.scalar("proxy_read_timeout")
        if model.ours and setting and _seconds(setting.arg) <= model.ours.check_seconds:
            what = f"nginx gives up after {setting.arg}, the service after {model.ours.check_seconds} s"
            yield hit(setting, what, "give up after the service", setting.replaced("proxy_read_timeout 1s;"))


_UNITS: Final = {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3_600}


def _seconds(text: str) -> float:
    duration = re.fullmatch(r"(\d+)(ms|s|m|h|)", text)
    return int(duration[1]) * _UNITS[duration[2]] if duration else 0


@rule("nginx-settings-hosts", Severity.WARNING, "the directory's hosts; server_name", proof=DISAGREEMENT)
def _hosts(model: NginxModel) -> Iterator[Hit]:
    """an organization's host has no server that asks.

    Its clients get another server, or none.
    """
    names = {name for location in model.guarded for name in location.server.names}
    places = [location.server.directive for location in model.guarded]
    for host in model.ours.hosts if model.ours and places and not names & {"_", ""} else ():
        if not any(_named(host, name) for name in names):
            yield hit(places[0], f"no server that asks is named {host}", "add it to server_name")


def _named(host: str, name: str) -> bool:
    if name.startswith("~"):
        return bool(re.search(name[1:], host))
    return host == name or (name.startswith(("*.", ".")) and f".{host}".endswith(name.lstrip("*")))


NGINX_SETTINGS_RULES: Final[tuple[Rule[NginxModel], ...]] = (
    _address, _form, _statement, _request_host, _user, _user_from_client, _path, _transport, _names, _timeout,
    _hosts,
)  # fmt: skip
