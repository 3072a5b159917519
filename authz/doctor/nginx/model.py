"""What of nginx's configuration the rules look at: servers, locations with what they inherit, who is reached.

A directive that may stand once is taken from the nearest level that has it. Those that may be repeated
(`proxy_set_header`, `auth_request_set`, `error_page`, `allow` …) are inherited all or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from authz.doctor.addresses import canonical
from authz.doctor.findings import Edit, Hit, NotUnderstood
from authz.doctor.nginx.reader import Directive
from authz.doctor.service_settings import Ours

PASSES: Final = ("proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass")
_SETTERS: Final = {
    "proxy_pass": "proxy_set_header",
    "grpc_pass": "grpc_set_header",
    "fastcgi_pass": "fastcgi_param",
    "uwsgi_pass": "uwsgi_param",
    "scgi_pass": "scgi_param",
}


@dataclass(frozen=True, eq=False)
class Location:
    """A location, or an `if` or `limit_except` in one, with the blocks around it, the nearest first."""

    directive: Directive
    outer: tuple[Directive, ...]
    server: ServerBlock

    @cached_property
    def levels(self) -> tuple[Directive, ...]:
        """Where its settings are looked for."""
        return (self.directive, *self.outer)

    def scalar(self, name: str) -> Directive | None:
        """The setting that holds here."""
        return next((settings[0] for level in self.levels if (settings := level.inside(name))), None)

    def value(self, name: str, default: str = "") -> str:
        """Its first argument."""
        setting = self.scalar(name)
        return default if setting is None else setting.arg

    def array(self, *names: str) -> tuple[Directive, ...]:
        """The settings that hold here: those of the nearest level that has one."""
        return next((settings for level in self.levels if (settings := level.inside(*names))), ())

    @property
    def guard(self) -> str:
        """Where it asks; empty if it does not."""
        asked = self.value("auth_request", "off")
        return "" if asked == "off" else asked

    @cached_property
    def passes(self) -> Directive | None:
        """The directive by which it hands requests on; an `if` has its location's."""
        nested = self.directive.name != "location"
        levels = self.levels[:2] if nested else self.levels[:1]
        return next((passes[0] for level in levels if (passes := level.inside(*PASSES))), None)

    @property
    def reachable(self) -> bool:
        """Whether a client's request can come here by itself."""
        return not self.named and self.scalar("internal") not in self.directive.inside("internal")

    @property
    def named(self) -> bool:
        """Whether it is a @name."""
        return self.path.startswith("@")

    @property
    def exact(self) -> bool:
        """Whether it is one path."""
        return self.directive.args[:1] == ("=",)

    @property
    def path(self) -> str:
        """Its path, pattern or name."""
        return self.directive.args[-1] if self.directive.args else ""

    @cached_property
    def setters(self) -> dict[str, Directive]:
        """The headers that are set where it hands on, by name in lower case."""
        kind = _SETTERS[self.passes.name] if self.passes else "proxy_set_header"
        return {header_of(each): each for each in self.array(kind) if each.args}

    @property
    def setter(self) -> str:
        """The directive that sets a header here."""
        return _SETTERS[self.passes.name] if self.passes else "proxy_set_header"

    def sends(self, header: str) -> str:
        """What a header is set to; empty if it is removed or not set."""
        setter = self.setters.get(header)
        return " ".join(setter.args[1:]) if setter else ""


def header_of(setter: Directive) -> str:
    """The header that a setter sets, in lower case: `HTTP_X_USER` of FastCGI is x-user."""
    name = setter.arg.lower()
    return name.removeprefix("http_").replace("_", "-") if setter.name.endswith("_param") else name


@dataclass(frozen=True, eq=False)
class ServerBlock:
    """A server of HTTP."""

    directive: Directive
    http: tuple[Directive, ...]
    locations: list[Location] = field(default_factory=list)
    _found: dict[str, Location | None] = field(default_factory=dict)

    @cached_property
    def top(self) -> Location:
        """The server's own level, as if it were a location."""
        return Location(self.directive, self.http, self)

    @property
    def listens(self) -> tuple[Directive, ...]:
        """Where it listens."""
        return self.directive.inside("listen")

    @property
    def names(self) -> tuple[str, ...]:
        """Its names."""
        return tuple(name for each in self.directive.inside("server_name") for name in each.args)

    def encrypted(self, listen: Directive) -> bool:
        """Whether clients speak TLS there."""
        return not {"ssl", "quic"}.isdisjoint(listen.args) or self.top.value("ssl") == "on"

    def find(self, uri: str) -> Location | None:
        """The location that a path or a @name leads to."""
        if uri not in self._found:
            self._found[uri] = self._find(uri)
        return self._found[uri]

    def _find(self, uri: str) -> Location | None:
        own = [location for location in self.locations if location.directive.name == "location"]
        if uri.startswith("@"):
            return next((location for location in own if location.path == uri), None)
        path = uri.split("?", maxsplit=1)[0]
        exact = [location for location in own if location.exact and location.path == path]
        prefixes = [
            location
            for location in own
            if not location.named and _is_prefix(location) and path.startswith(location.path)
        ]
        longest = max(prefixes, key=lambda location: len(location.path), default=None)
        if exact or (longest and longest.directive.arg == "^~"):
            return exact[0] if exact else longest
        return next((location for location in own if _matches(location, path)), longest)


def _is_prefix(location: Location) -> bool:
    return len(location.directive.args) == 1 or location.directive.arg == "^~"


def _matches(location: Location, path: str) -> bool:
    kind = location.directive.arg
    try:
        return kind in {"~", "~*"} and bool(re.search(location.path, path, re.IGNORECASE if kind == "~*" else 0))
    except re.error:
        return False


@dataclass
class NginxModel:
    """The whole; `ours` are the service's own settings, if they were given."""

    roots: tuple[Directive, ...]
    ours: Ours | None = None
    identity: tuple[str, ...] = ()
    not_understood: list[NotUnderstood] = field(default_factory=list)
    servers: list[ServerBlock] = field(default_factory=list)
    upstreams: dict[str, Directive] = field(default_factory=dict)

    @cached_property
    def locations(self) -> list[Location]:
        """Every one of every server."""
        return [location for server in self.servers for location in server.locations]

    @cached_property
    def guarded(self) -> list[Location]:
        """Those that ask, and hand requests on; the place where they ask is not among them."""
        asked = {id(location) for location in self.checks}
        return [
            location for location in self.locations if location.guard and location.passes and id(location) not in asked
        ]

    @cached_property
    def checks(self) -> list[Location]:
        """Where nginx asks the service."""
        checks = {}
        for location in [*self.locations, *(server.top for server in self.servers)]:
            target = location.server.find(location.guard) if location.guard else None
            if target is not None:
                checks[id(target)] = target
        return list(checks.values())

    @cached_property
    def applications(self) -> frozenset[str]:
        """Where the guarded ones lead."""
        return frozenset(place for location in self.guarded for place in self.places(location))

    def places(self, location: Location) -> frozenset[str]:
        """Where a location leads: the upstream's name, and the addresses."""
        passes = location.passes
        return frozenset() if passes is None else self.resolve(self.constant(location, passes.arg))

    def resolve(self, target: str) -> frozenset[str]:
        """The upstream's name if it is one, and every address behind it; nothing for what a variable decides."""
        if "$" in target:
            return frozenset()
        name = authority(target)
        upstream = self.upstreams.get(name) or self.upstreams.get(name.partition(":")[0])
        if upstream is None:
            return frozenset({name})
        return frozenset({upstream.arg, *(authority(each.arg) for each in upstream.inside("server"))})

    def constant(self, location: Location, text: str) -> str:
        """A text with the variables filled in that `set` gives a constant."""
        for level in location.levels:
            for each in level.inside("set"):
                if len(each.args) == 2 and "$" not in each.args[1]:
                    text = re.sub(re.escape(each.arg) + r"\b", each.args[1].replace("\\", r"\\"), text)
        return text

    def unknown(self, directive: Directive, what: str) -> None:
        """Name something that no rule can judge."""
        entry = NotUnderstood(directive.source.name, directive.line, what)
        if entry not in self.not_understood:
            self.not_understood.append(entry)

    @cached_property
    def asks_ours(self) -> bool:
        """Whether the service asked is this project's: its settings were given, or its headers are named."""
        if self.ours is not None:
            return True
        texts = (each.text.lower() for root in self.roots for each in root.walk())
        return any("x-authz-" in text or "x_authz_" in text for text in texts)


def authority(target: str) -> str:
    """Host and port, or socket, of what a request is passed to; an upstream's name as it stands."""
    bare = target.partition("://")[2] or target
    if bare.startswith("unix:"):
        return ":".join(bare.split(":")[:2])
    name = bare.split("/", maxsplit=1)[0]
    port = "443" if target.startswith(("https://", "grpcs://")) else "80"
    # A name without dots and port is as a rule an upstream's.
    return canonical(name if ":" in name or "." not in name else f"{name}:{port}")


def hit(directive: Directive, what: str, mend: str, edits: tuple[Edit, ...] = ()) -> Hit:
    """A hit at the place of a directive."""
    return Hit(directive.source, directive.line, what, mend, edits)


def read_model(
    roots: tuple[Directive, ...],
    not_understood: list[NotUnderstood],
    ours: Ours | None = None,
    identity: tuple[str, ...] = (),
) -> NginxModel:
    """The model of the directives; what it cannot judge is named in it.

    A file that is a part of `http` is taken as such.
    """
    made = NginxModel(roots, ours, identity, not_understood)
    https = [each for each in roots if each.name == "http"]
    for level in https or [_as_http(roots)]:
        for upstream in level.inside("upstream"):
            made.upstreams[upstream.arg] = upstream
        for directive in level.inside("server"):
            server = ServerBlock(directive, (level,))
            made.servers.append(server)
            server.locations.extend(_locations(server, directive, (level,)))
    for location in made.locations:
        _judgeable(made, location)
    return made


def _as_http(roots: tuple[Directive, ...]) -> Directive:
    first = roots[0]
    return Directive(first.source, first.line, "http", (), roots)


def _locations(server: ServerBlock, block: Directive, outer: tuple[Directive, ...]) -> Iterator[Location]:
    for each in block.inside("location", "if", "limit_except"):
        location = Location(each, (block, *outer), server)
        yield location
        yield from _locations(server, each, (block, *outer))


_CODE: Final = ("content_by_lua", "js_content", "perl", "access_by_lua")


def _judgeable(made: NginxModel, location: Location) -> None:
    """Name a location whose destination, or whose authorization request, is unknown."""
    passes = location.passes
    code = next((each for each in location.directive.block or () if each.name.startswith(_CODE)), None)
    if code is not None and not location.guard and made.applications:
        made.unknown(code, f"{code.name}: unchecked code of one's own")
    if passes and not location.guard and "$" in made.constant(location, passes.arg) and made.applications:
        made.unknown(passes, f"{passes.text}: a variable decides where these unchecked requests go")
    if location.guard and ("$" in location.guard or location.server.find(location.guard) is None):
        asked = location.scalar("auth_request")
        made.unknown(asked or location.directive, f"auth_request {location.guard}: where it asks is unknown")
