"""Rules over auth_request: whether nginx asks about every request, and what happens to one that is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from authz.doctor.findings import Edit, Hit, Rule, Severity, rule
from authz.doctor.nginx.model import Location, NginxModel, hit
from authz.doctor.nginx.reader import Directive

_REFUSED: Final = frozenset({"401", "403", "500"})
"""What nginx makes of the service's refusal, and of no answer."""


def _open(model: NginxModel, location: Location) -> bool:
    """Whether a location hands on to an application that is guarded elsewhere, and checks nothing."""
    asked = any(location is check for check in model.checks)
    return not location.guard and not asked and not model.applications.isdisjoint(model.places(location))


def _opened(model: NginxModel, *, exact: bool, guarded_server: bool) -> Iterator[Hit]:
    for location in model.locations:
        if not _open(model, location) or not location.reachable or location.exact is not exact:
            continue
        if exact or _asks_somewhere(location) is guarded_server:
            what = f"{location.directive.text}: requests go to {_where(location)} unchecked"
            yield hit(
                location.scalar("auth_request") or location.directive, what, "ask about them", _ask(model, location)
            )


def _led_in(model: NginxModel) -> Iterator[Hit]:
    """An unchecked location that leads, before anything is checked, to one that only internal redirects reach."""
    for location in [*model.locations, *(server.top for server in model.servers)]:
        if location.guard or not location.reachable or any(location is check for check in model.checks):
            continue
        for each in location.directive.inside("try_files", "error_page", "rewrite"):
            target = location.server.find(_target(each))
            if target is not None and _open(model, target) and not target.reachable:
                what = f"{each.text}: leads to {target.path}, and neither is checked"
                yield hit(each, what, "check there", _ask(model, target))


def _target(directive: Directive) -> str:
    """Where a directive leads, as far as it is a constant."""
    word = directive.args[1 if directive.name == "rewrite" else -1] if len(directive.args) > 1 else ""
    return re.split(r"[$?]", word)[0]


def _asks_somewhere(location: Location) -> bool:
    return any(place.guard for place in (location.server.top, *location.server.locations))


def _where(location: Location) -> str:
    return location.passes.arg if location.passes else ""


def _ask(model: NginxModel, location: Location) -> tuple[Edit, ...]:
    asked = f"auth_request {next((location.guard for location in model.guarded), '/_authz')};"
    own = location.directive.inside("auth_request")
    if own:
        return own[0].replaced(asked)
    return location.passes.preceded(asked) if location.passes else ()


@rule("nginx-location-unchecked", Severity.FATAL, "ngx_http_auth_request_module; docs/nginx.md")
def _location_open(model: NginxModel) -> Iterator[Hit]:
    """a location leads to the application without a check.

    nginx matches the decoded and merged path and hands the raw one on: /open/..;/closed and //open/x are one thing here
    and another in the application, which gets the identity headers that the client wrote.
    """
    yield from _opened(model, exact=False, guarded_server=True)
    yield from _led_in(model)


@rule("nginx-server-unchecked", Severity.FATAL, "server_name, listen")
def _server_open(model: NginxModel) -> Iterator[Hit]:
    """a server leads to the application without a check.

    A client picks the server by its Host.
    """
    yield from _opened(model, exact=False, guarded_server=False)


@rule("nginx-path-unchecked", Severity.WARNING, "location =")
def _path_open(model: NginxModel) -> Iterator[Hit]:
    """one path leads to the application without a check.

    For that path the application believes the identity headers that the client wrote.
    """
    yield from _opened(model, exact=True, guarded_server=True)


@rule("nginx-no-check", Severity.FATAL, "ngx_http_auth_request_module")
def _no_check(model: NginxModel) -> Iterator[Hit]:
    """no request is checked.

    There is no auth_request in the whole configuration.
    """
    if any(location.guard for location in model.locations):
        return
    for location in model.locations:
        if location.passes and location.reachable:
            yield hit(
                location.passes,
                f"{location.passes.text}: no request is checked",
                "ask with auth_request (deploy/nginx.conf)",
            )


@rule("nginx-satisfy-any", Severity.FATAL, "ngx_http_core_module, satisfy")
def _satisfy(model: NginxModel) -> Iterator[Hit]:
    """an address or a password is enough instead of the check.

    With satisfy any, one of the access modules that agrees lets the request in.
    """
    for location in model.guarded:
        others = location.array("allow", "deny") or location.array("auth_basic", "auth_jwt")
        satisfy = location.scalar("satisfy")
        if satisfy and satisfy.arg == "any" and others:
            what = f"{others[0].text}: is enough instead of the check"
            yield hit(satisfy, what, "demand all", satisfy.replaced("satisfy all;"))


@rule("nginx-return-before-check", Severity.WARNING, "nginx development guide, phases")
def _return(model: NginxModel) -> Iterator[Hit]:
    """an answer is given before the check.

    return runs in the rewrite phase, the check in the access phase.
    """
    for location in model.guarded:
        for each in location.directive.inside("return"):
            if _serves(each):
                yield hit(each, f"{each.text}: is answered before the check", "take it out", each.replaced(""))


def _serves(directive: Directive) -> bool:
    return not directive.arg.isdecimal() or directive.arg.startswith("2")


@rule("nginx-rewrite-around", Severity.FATAL, "ngx_http_rewrite_module")
def _rewrite(model: NginxModel) -> Iterator[Hit]:
    """a rewrite leads to a location without a check.

    rewrite runs before the check, and the new location's settings hold.
    """
    for location in [*model.guarded, *(server.top for server in model.servers)]:
        for each in location.directive.inside("rewrite"):
            if len(each.args) < 2 or each.args[-1] in {"permanent", "redirect", "break"}:
                continue
            target = location.server.find(_target(each))
            if target and _open(model, target) and not target.reachable:
                what = f"{each.text}: leads to {target.path}, which checks nothing, before the check"
                yield hit(each, what, "ask there too", _ask(model, target))


@rule("nginx-error-page-around", Severity.FATAL, "ngx_http_core_module, error_page")
def _error_page(model: NginxModel) -> Iterator[Hit]:
    """what the service refuses is served by another location.

    The refusal, or a service that is down, leads to the application.
    """
    for location in model.guarded:
        for each in location.array("error_page"):
            codes = {code for code in each.args[:-1] if code.isdecimal()}
            page = each.args[-1] if each.args else ""
            target = location.server.find(page) if page.startswith(("/", "@")) else None
            if codes & _REFUSED and target is not None and _open(model, target):
                what = f"{each.text}: what is refused is served by {target.path}"
                yield hit(each, what, "serve a page of one's own, or a redirect", each.replaced(""))


@rule("nginx-errors-intercepted", Severity.WARNING, "ngx_http_proxy_module, proxy_intercept_errors")
def _intercept(model: NginxModel) -> Iterator[Hit]:
    """the application's refusals are answered as the service's.

    proxy_intercept_errors makes no difference between the two.
    """
    for location in model.guarded:
        setting = location.scalar("proxy_intercept_errors")
        codes = {code for each in location.array("error_page") for code in each.args[:-1]}
        if setting and setting.arg == "on" and codes & {"401", "403"}:
            what = "the application's own 401 and 403 are answered as the service's"
            yield hit(setting, what, "let them pass", setting.replaced("proxy_intercept_errors off;"))


@rule(
    "nginx-code-before-check",
    Severity.WARNING,
    "lua-nginx-module, rewrite_by_lua",
    proof="the Lua module is in neither nginx that the tests have",
)
def _code(model: NginxModel) -> Iterator[Hit]:
    """code of one's own runs before the check.

    Lua in the rewrite phase may answer by itself.
    """
    for location in model.guarded:
        for level in location.levels:
            for each in level.block or ():
                if each.name.startswith(("rewrite_by_lua", "server_rewrite_by_lua")):
                    yield hit(each, f"{each.name} runs before the check: it may answer", "move it to access_by_lua")


_SUBREQUESTS: Final = ("ssi", "mirror", "slice", "add_before_body", "add_after_body")


@rule("nginx-subrequests", Severity.WARNING, "ngx_http_auth_request_module (r != r->main)")
def _subrequests(model: NginxModel) -> Iterator[Hit]:
    """nginx makes subrequests, which are not checked.

    auth_request looks at main requests only: what an answer includes is served.
    """
    for location in model.guarded:
        for name in _SUBREQUESTS:
            setting = location.scalar(name)
            if setting and setting.arg not in {"off", "0"}:
                yield hit(setting, f"{setting.text}: makes requests that are not checked", "take it out")


@rule("nginx-verdict-cached", Severity.FATAL, "ngx_http_proxy_module, proxy_cache")
def _verdict_cached(model: NginxModel) -> Iterator[Hit]:
    """the service's answers are cached.

    A certificate revoked or retired since then, and another user with the same key, are let in.
    """
    for check in model.checks:
        setting = check.scalar("proxy_cache")
        if setting and setting.arg != "off":
            own = check.directive.inside("proxy_cache")
            mend = own[0].replaced("proxy_cache off;") if own else _into(check, "proxy_cache off;")
            yield hit(setting, f"{check.path}: yesterday's answer is given today", "ask each time", mend)


def _into(location: Location, text: str) -> tuple[Edit, ...]:
    return location.passes.preceded(text) if location.passes else ()


@rule("nginx-answers-cached", Severity.WARNING, "ngx_http_proxy_module, proxy_cache_key")
def _answers_cached(model: NginxModel) -> Iterator[Hit]:
    """the application's answers are cached for all users.

    The key that nginx uses names no user.
    """
    for location in model.guarded:
        setting, key = location.scalar("proxy_cache"), location.value("proxy_cache_key")
        if setting and setting.arg != "off" and not any(var in key for var in _answered(location)):
            what = "one user's answers are served to the next: the key names no user"
            yield hit(
                setting, what, "put the service's user into proxy_cache_key", setting.replaced("proxy_cache off;")
            )


def _answered(location: Location) -> list[str]:
    return [each.arg for each in location.array("auth_request_set")]


@rule("nginx-check-answered-here", Severity.FATAL, "ngx_http_auth_request_module")
def _always(model: NginxModel) -> Iterator[Hit]:
    """nginx answers the check itself.

    An answer of 2xx allows: every request is let in.
    """
    for check in model.checks:
        if not check.passes and check.directive.name == "location":
            answers = check.directive.inside("return") or (check.directive,)
            if answers[0].name != "return" or _serves(answers[0]):
                what = f"{check.path} asks no service: nginx answers itself"
                yield hit(answers[0], what, "pass the check to the service (deploy/nginx.conf)")


@rule("nginx-check-reachable", Severity.WARNING, "ngx_http_core_module, internal")
def _outside(model: NginxModel) -> Iterator[Hit]:
    """clients can ask the service themselves.

    A client learns what would be decided, with headers of its own.
    """
    for check in model.checks:
        if check.reachable and check.passes:
            what = f"{check.path}: a client can ask the service itself"
            yield hit(check.directive, what, "make it internal", _into(check, "internal;"))


@rule("nginx-accel-redirect", Severity.INFO, "ngx_http_proxy_module, proxy_ignore_headers")
def _accel(model: NginxModel) -> Iterator[Hit]:
    """the application may have any location served in its answer's place.

    X-Accel-Redirect leads to internal locations, which are not checked.
    """
    for location in model.guarded:
        ignored = {word.lower() for each in location.array("proxy_ignore_headers") for word in each.args}
        if location.passes and location.passes.name == "proxy_pass" and "x-accel-redirect" not in ignored:
            what = "the application's answer names a location to be served in its place"
            mend = _into(location, "proxy_ignore_headers X-Accel-Redirect;")
            yield hit(location.passes, what, "ignore the header, if the application does not use it", mend)


@rule(
    "nginx-stream-around",
    Severity.FATAL,
    "ngx_stream_proxy_module",
    proof="Debian's nginx has the stream module apart, and the tests have it not; the fault is Envoy's tunnel again",
)
def _stream(model: NginxModel) -> Iterator[Hit]:
    """a stream server leads to the same application.

    Bytes are handed on as they come; requests and headers are not looked at.
    """
    for stream in (root for root in model.roots if root.name == "stream"):
        upstreams = {each.arg: {server.arg for server in each.inside("server")} for each in stream.inside("upstream")}
        for each in stream.walk():
            reached = {each.arg, *upstreams.get(each.arg, ())} if each.name == "proxy_pass" else set()
            if reached & model.applications:
                yield hit(each, f"bytes are handed on to {each.arg} without looking at requests", "take the server out")


CHECK_RULES: Final[tuple[Rule[NginxModel], ...]] = (
    _location_open, _server_open, _path_open, _no_check, _satisfy, _return, _rewrite, _error_page, _intercept,
    _code, _subrequests, _verdict_cached, _answers_cached, _always, _outside, _accel, _stream,
)  # fmt: skip
