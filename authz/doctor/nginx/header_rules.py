"""Rules over headers: what the application believes, and what the service receives."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from authz.doctor.findings import Edit, Hit, Rule, Severity, rule
from authz.doctor.nginx.model import Location, NginxModel, header_of, hit
from authz.doctor.nginx.reader import Directive
from authz.doctor.service_settings import IDENTITY_HEADERS
from authz.headers import KNOWN_HEADERS

_UPSTREAM: Final = "$upstream_http_"
_CLIENTS: Final = re.compile(r"\$(http|arg|cookie|sent_http)_")
MAX_VARIABLES: Final = 10
"""Variables that are followed, one made of the other."""

_BROKEN: Final = re.compile(r"\$ssl_client_(raw_)?cert\b")
_SENT: Final = re.compile(r"\$ssl_client_(escaped_|raw_)?cert\b")
_CERTIFICATE: Final = "$ssl_client_escaped_cert"


def _answers(model: NginxModel) -> dict[str, str]:
    """The variables that hold a header of the service's answer, with that header's name."""
    variables = {}
    for root in model.roots:
        for each in root.walk():
            if each.name == "auth_request_set" and len(each.args) > 1 and each.args[1].startswith(_UPSTREAM):
                variables[each.arg] = each.args[1].removeprefix(_UPSTREAM).replace("_", "-")
    return variables


def identity_headers(model: NginxModel) -> dict[str, str]:
    """The headers by which an application knows who asks, each with the variable that holds it, as far as one does."""
    answers = _answers(model)
    headers = dict.fromkeys(name.lower() for name in model.identity)
    if model.asks_ours:
        headers |= dict.fromkeys(IDENTITY_HEADERS)
    for setter in _setters(model):
        for variable in answers:
            if variable in setter.args[1:]:
                headers[header_of(setter)] = variable
    return {name: variable or _variable(answers, name) for name, variable in headers.items()}


def _variable(answers: dict[str, str], header: str) -> str:
    return next((variable for variable, name in answers.items() if name == header), '""')


def _setters(model: NginxModel) -> Iterator[Directive]:
    kinds = ("proxy_set_header", "grpc_set_header", "fastcgi_param", "uwsgi_param", "scgi_param")
    for root in model.roots:
        yield from (each for each in root.walk() if each.name in kinds and each.args)


@rule("nginx-headers-not-inherited", Severity.FATAL, "ngx_http_proxy_module, proxy_set_header")
def _lost(model: NginxModel) -> Iterator[Hit]:
    """a level with proxy_set_header of its own has lost those above.

    proxy_set_header is inherited all or none: a client's X-Authz-User reaches the application.
    """
    names = identity_headers(model)
    for location in model.guarded:
        for name, variable in names.items():
            if name not in location.setters and _above(location, name):
                first = next(iter(location.setters.values()))
                what = f"{first.name} here loses those above: a client's own {name} passes"
                yield hit(first, what, "repeat every line here", first.preceded(_line(location, name, variable)))


def _above(location: Location, name: str) -> bool:
    return any(
        header_of(each) == name for level in location.levels for each in level.inside(location.setter) if each.args
    )


def _line(location: Location, name: str, variable: str) -> str:
    header = "HTTP_" + name.upper().replace("-", "_") if location.setter.endswith("_param") else name
    return f"{location.setter} {header} {variable};"


@rule("nginx-identity-not-set", Severity.FATAL, "ngx_http_proxy_module, proxy_set_header")
def _not_set(model: NginxModel) -> Iterator[Hit]:
    """an identity header is not replaced.

    The application gets the header that the client wrote.
    """
    names = identity_headers(model)
    for location in model.guarded:
        for name, variable in names.items():
            if name not in location.setters and not _above(location, name) and location.passes:
                first = next(iter(location.setters.values()), location.passes)
                mend = first.preceded(_line(location, name, variable))
                yield hit(location.passes, f"a client's own {name} reaches the application", "replace it", mend)


@rule("nginx-identity-from-client", Severity.FATAL, "ngx_http_core_module, embedded variables")
def _from_client(model: NginxModel) -> Iterator[Hit]:
    """an identity header is set to what the client wrote.

    $http_…, $arg_… and $cookie_… are the client's.
    """
    names, variables = identity_headers(model), _variables(model)
    for location in model.guarded:
        for name, variable in names.items():
            if _CLIENTS.search(_source(variables, location.sends(name))):
                setter = location.setters[name]
                mend = setter.replaced(f"{setter.name} {setter.arg} {variable};")
                yield hit(setter, f"{name} is what the client wrote", "take it from the service's answer", mend)


def _variables(model: NginxModel) -> dict[str, str]:
    """What maps and `set` make variables of, by name; several origins stand side by side."""
    origins: dict[str, str] = {}
    for root in model.roots:
        for each in root.walk():
            if len(each.args) > 1 and each.name in {"set", "map", "geo", "split_clients"}:
                variable, origin = each.args[:2] if each.name == "set" else each.args[1::-1]
                origins[variable] = f"{origins.get(variable, '')} {origin}"
    return origins


def _source(variables: dict[str, str], value: str) -> str:
    """A value, with what its variables are made of in their places."""
    for _ in range(MAX_VARIABLES):
        made = re.sub(r"\$\w+", lambda word: variables.get(word[0], word[0]), value)
        if made == value:
            break
        value = made
    return value


@rule("nginx-variables-not-inherited", Severity.FATAL, "ngx_http_auth_request_module, auth_request_set")
def _unset_variables(model: NginxModel) -> Iterator[Hit]:
    """a level with auth_request_set of its own has lost those above.

    auth_request_set is inherited all or none: the variables are empty, and the application sees no user.
    """
    answers = _answers(model)
    names = identity_headers(model)
    for location in model.guarded:
        own = location.array("auth_request_set")
        assigned = {each.arg for each in own}
        for name in names:
            value = location.sends(name)
            if value in answers and value not in assigned:
                line = f"auth_request_set {value} {_UPSTREAM}{answers[value].replace('-', '_')};"
                what = f"{value} is not set here, and empty: auth_request_set is inherited all or none"
                place = own[0] if own else location.setters[name]
                yield hit(place, what, "repeat every line here", place.preceded(line))


@rule("nginx-host-differs", Severity.FATAL, "ngx_http_core_module, $host")
def _host(model: NginxModel) -> Iterator[Hit]:
    """the application sees another Host than the service judged.

    $http_host is what the client wrote, $host may be the request target's: two organizations in one request.
    """
    for location in model.guarded if model.asks_ours else ():
        check = location.server.find(location.guard)
        if check is None or not check.passes or not location.passes:
            continue
        judged, seen = (setting.sends("host") or "$proxy_host" for setting in (check, location))
        if judged != seen:
            what = f"the service judges {judged}, the application sees {seen}"
            yield hit(_place(location, "host"), what, "hand the same Host to both", _set_host(location, judged))


def _place(location: Location, name: str) -> Directive:
    return location.setters.get(name) or location.passes or location.directive


def _set_host(location: Location, value: str) -> tuple[Edit, ...]:
    value = "$host" if value == "$proxy_host" else value
    setter = location.setters.get("host")
    line = f"{location.setter} Host {value};"
    if setter is not None:
        return setter.replaced(line)
    first = next(iter(location.setters.values()), location.passes)
    return first.preceded(line) if first else ()


@rule("nginx-check-host", Severity.FATAL, "ngx_http_proxy_module, $proxy_host")
def _service_host(model: NginxModel) -> Iterator[Hit]:
    """the service does not receive the client's Host.

    The default is the upstream's name, which is no organization's host.
    """
    for check in model.checks if model.asks_ours else ():
        if check.passes and not check.sends("host"):
            what = "the service is asked with the upstream's name as Host"
            yield hit(check.passes, what, "hand the client's Host on", _set_host(check, "$host"))


@rule("nginx-check-headers-passed", Severity.WARNING, "ngx_http_proxy_module, proxy_pass_request_headers")
def _passed_in(model: NginxModel) -> Iterator[Hit]:
    """the client's headers reach the service.

    Where nginx sets none itself, the client's own certificate header, statement or method is taken for nginx's.
    """
    for check in model.checks:
        setting = check.scalar("proxy_pass_request_headers")
        if check.passes and model.asks_ours and (setting is None or setting.arg != "off"):
            what = "every header of the client reaches the service"
            mend = check.passes.preceded("proxy_pass_request_headers off;")
            yield hit(setting or check.passes, what, "hand over what is named, and nothing else", mend)


@rule("nginx-check-body-passed", Severity.WARNING, "ngx_http_proxy_module, proxy_pass_request_body")
def _body(model: NginxModel) -> Iterator[Hit]:
    """the client's body is sent with the check.

    The service has no use for it; announced and not sent, it keeps the check waiting until it fails.
    """
    for check in model.checks:
        setting = check.scalar("proxy_pass_request_body")
        passes = check.passes
        if passes is None or passes.name != "proxy_pass":
            continue
        if setting is None or setting.arg != "off":
            mend = passes.preceded("proxy_pass_request_body off;")
            yield hit(setting or passes, "the client's body is sent to the service", "keep it", mend)
        if "content-length" not in check.setters:
            mend = _first(check).preceded('proxy_set_header Content-Length "";')
            yield hit(passes, "the service waits for a body of the client's length", "announce none", mend)


def takes_certificates(model: NginxModel) -> bool:
    """Whether the service goes by certificates: nginx hands it one, or it is this project's."""
    return model.asks_ours or any(
        "$ssl_client_" in check.sends(name) for check in model.checks for name in check.setters
    )


@rule("nginx-certificate-not-sent", Severity.FATAL, "ngx_http_ssl_module, $ssl_client_escaped_cert")
def _no_certificate(model: NginxModel) -> Iterator[Hit]:
    """the service is sent no certificate.

    Every client seems to have none.
    """
    for check in model.checks:
        words = " ".join(map(check.sends, check.setters))
        verified = "$ssl_client_" in words and not model.asks_ours
        if check.passes and takes_certificates(model) and not verified and not _SENT.search(words):
            mend = _first(check).preceded(f"proxy_set_header X-SSL-Client-Cert {_CERTIFICATE};")
            yield hit(check.passes, "the service is sent no certificate", "hand the certificate over", mend)


def _first(location: Location) -> Directive:
    return next(iter(location.setters.values()), location.passes or location.directive)


@rule("nginx-certificate-broken", Severity.FATAL, "ngx_http_ssl_module, $ssl_client_cert, $ssl_client_raw_cert")
def _broken(model: NginxModel) -> Iterator[Hit]:
    """the certificate is sent with line ends in it.

    A header cannot hold them: the service is asked in pieces, and refuses.
    """
    for check in model.checks:
        for name, setter in check.setters.items():
            if _BROKEN.search(check.sends(name)):
                mend = setter.replaced(f"{setter.name} {setter.arg} {_CERTIFICATE};")
                yield hit(setter, f"{check.sends(name)} holds line ends", "hand over the escaped one", mend)


_TOLD: Final = frozenset({"x-authz-payload", "x-authz-peer", "x-authz-completed-by"})
"""What proxies and this service tell each other, and no application is to believe."""


@rule("nginx-certificate-headers", Severity.INFO, "RFC 9440 section 4; the names that authz.headers knows")
def _certificate_headers(model: NginxModel) -> Iterator[Hit]:
    """certificate headers reach the application as the client wrote them.

    An application that believes one of them believes the client.
    """
    for location in model.guarded:
        passed = sorted((KNOWN_HEADERS | _TOLD) - set(location.setters))
        if passed and model.asks_ours:
            first = _first(location)
            mend = first.preceded(f"\n{' ' * 8}".join(_line(location, name, '""') for name in passed))
            what = f"certificate headers reach the application as the client wrote them: {', '.join(passed)}"
            yield hit(_place(location, ""), what, "remove them, if the application goes by one", mend)


@rule("nginx-forwarded-host", Severity.INFO, "RFC 7239")
def _forwarded(model: NginxModel) -> Iterator[Hit]:
    """a client's own X-Forwarded-Host or Forwarded reaches the application.

    The service judged the Host; an application that goes by these may serve another organization.
    """
    for location in model.guarded:
        for name in ("x-forwarded-host", "forwarded"):
            if model.asks_ours and name not in location.setters:
                mend = _first(location).preceded(_line(location, name, '""'))
                what = f"a client's own {name} reaches the application"
                yield hit(_place(location, ""), what, "remove it, if the application goes by it", mend)


@rule("nginx-underscores", Severity.WARNING, "ngx_http_core_module, underscores_in_headers, ignore_invalid_headers")
def _underscores(model: NginxModel) -> Iterator[Hit]:
    """headers with underscores or odd characters are let through.

    Many servers fold _ into -: a client's x_authz_user becomes x-authz-user.
    """
    for location in model.guarded:
        for name, good in (("underscores_in_headers", "off"), ("ignore_invalid_headers", "on")):
            setting = location.server.top.scalar(name)
            if setting and setting.arg != good:
                what = (
                    f"{setting.text}: x_authz_user passes"
                    if name.startswith("under")
                    else f"{setting.text}: odd names pass"
                )
                yield hit(setting, what, "let nginx drop them", setting.replaced(f"{name} {good};"))


HEADER_RULES: Final[tuple[Rule[NginxModel], ...]] = (
    _lost, _not_set, _from_client, _unset_variables, _host, _service_host, _passed_in, _body, _no_certificate,
    _broken, _certificate_headers, _forwarded, _underscores,
)  # fmt: skip
