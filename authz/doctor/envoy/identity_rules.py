"""Rules over the headers by which an application knows who asks: a client's own copy must never arrive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from authz.doctor.envoy.model import EnvoyModel, Hcm, HttpFilter, hit, matches
from authz.doctor.findings import Edit, Hit, Rule, Severity, rule
from authz.doctor.service_settings import IDENTITY_HEADERS
from authz.doctor.tree import Node
from authz.headers import KNOWN_HEADERS

_RESPONSE: Final = "envoy.extensions.filters.http.ext_authz.v3.AuthorizationResponse"

_UPSTREAM: Final = "http_service.authorization_response.allowed_upstream_headers"
_APPENDED: Final = "http_service.authorization_response.allowed_upstream_headers_to_append"
_OURS: Final = "x-authz-"


def pairs(model: EnvoyModel) -> Iterator[tuple[Hcm, HttpFilter]]:
    """Those that ask, with the filter by which they do."""
    for hcm in model.checked:
        if hcm.check is not None:
            yield hcm, hcm.check


def taken(check: HttpFilter) -> list[Node]:
    """What an HTTP service's answer may set of the request: the patterns."""
    return list(check.config.at(f"{_UPSTREAM}.patterns").items)


def asks_ours(model: EnvoyModel, check: HttpFilter) -> bool:
    """Whether the service asked is this project's: its settings were given, or its headers are named."""
    return model.ours is not None or any(node.text.lower().startswith(_OURS) for node in check.config.walk())


def identity_headers(model: EnvoyModel, hcm: Hcm) -> frozenset[str]:
    """The names by which the application knows who asks, as far as the configuration shows."""
    if hcm.check is None:
        return frozenset(model.identity)
    named = {pattern.at("exact").text.lower() for pattern in taken(hcm.check)} - {""}
    ours = IDENTITY_HEADERS if asks_ours(model, hcm.check) else ()
    return frozenset({*named, *ours, *(name.lower() for name in model.identity)})


def _always_returned(model: EnvoyModel, check: HttpFilter) -> frozenset[str]:
    return frozenset(IDENTITY_HEADERS if asks_ours(model, check) else ())


@rule("envoy-identity-not-taken", Severity.FATAL, f"{_RESPONSE}.allowed_upstream_headers")
def _not_taken(model: EnvoyModel) -> Iterator[Hit]:
    """an identity header is neither taken from the service's answer nor removed from the request.

    The application gets the header that the client wrote: x-authz-user: root.
    """
    for hcm, check in pairs(model):
        if not check.config.at("http_service"):
            continue
        for name in sorted(identity_headers(model, hcm)):
            if not hcm.removed(name) and not any(matches(pattern, name) for pattern in taken(check)):
                yield hit(check.node, f"a client's own {name} reaches the application", _TAKE, _take(check, name))


_TAKE: Final = "take the header from the service's answer, which replaces the client's"


def _take(check: HttpFilter, name: str) -> tuple[Edit, ...]:
    patterns = check.config.at(f"{_UPSTREAM}.patterns")
    return patterns.append({"exact": name}) or check.config.put(f"{_UPSTREAM}.patterns", [{"exact": name}])


@rule("envoy-identity-survives", Severity.FATAL, f"{_RESPONSE}.allowed_upstream_headers")
def _survives(model: EnvoyModel) -> Iterator[Hit]:
    """an identity header is replaced only where the service returns one.

    A service that returns no such header, for an anonymous user say, leaves the client's own.
    """
    for hcm, check in pairs(model):
        for pattern in taken(check):
            name = pattern.at("exact").text.lower() or pattern.at("prefix").text.lower()
            if name and name not in _always_returned(model, check) and not hcm.removed(name):
                what = f"where the service does not return {name}, the client's own arrives"
                yield hit(pattern, what, "remove it before the filters", hcm.remove_early(pattern))


@rule(
    "envoy-identity-unremoved",
    Severity.WARNING,
    "envoy.service.auth.v3.OkHttpResponse.headers",
    proof="gRPC is no listener of this service, so that the tests have none to show it with; Envoy's code is the same",
)
def _unnamed(model: EnvoyModel) -> Iterator[Hit]:
    """a gRPC service's identity headers are not removed early, or are not known.

    It replaces only those that it sets.
    """
    for hcm, check in pairs(model):
        grpc = check.config.at("grpc_service")
        if grpc and not model.identity and model.ours is None:
            what = "the headers that a gRPC service sets do not stand in the configuration"
            yield hit(grpc, what, "name them: authz doctor lint --identity NAME")
        for name in sorted(identity_headers(model, hcm)) if grpc else ():
            if not hcm.removed(name):
                what = f"where the service does not return {name}, the client's own arrives"
                yield hit(check.node, what, "remove it before the filters", hcm.remove_early(name))


@rule("envoy-identity-appended", Severity.FATAL, f"{_RESPONSE}.allowed_upstream_headers_to_append")
def _appended(model: EnvoyModel) -> Iterator[Hit]:
    """an identity header of the service is put behind the client's own.

    Applications take the first value: the client's.
    """
    for _, check in pairs(model):
        for pattern in check.config.at(f"{_APPENDED}.patterns").items:
            name = pattern.at("exact").text or pattern.at("prefix").text
            mend = check.config.put(_APPENDED, None) + _take(check, name)
            yield hit(pattern, f"{name} keeps the client's value in front of the service's", _TAKE, mend)


@rule("envoy-identity-removed-late", Severity.FATAL, "request_headers_to_remove of routes and virtual hosts")
def _removed_late(model: EnvoyModel) -> Iterator[Hit]:
    """an identity header is removed where routes are applied, which is after the check.

    The service's own header goes with the client's: the application sees no user.
    """
    for hcm, _ in pairs(model):
        names = identity_headers(model, hcm)
        for route in hcm.routes:
            for level in route.levels:
                removals = level.at("request_headers_to_remove")
                for header in removals.items:
                    if header.text.lower() in names:
                        kept = [each.text for each in removals.items if each.text.lower() not in names]
                        what = f"{header.text} is removed after the check: the service's own is lost"
                        yield hit(header, what, "remove it early", level.put("request_headers_to_remove", kept))


@rule("envoy-identity-rewritten", Severity.FATAL, "request_headers_to_add; envoy.filters.http.header_mutation")
def _rewritten(model: EnvoyModel) -> Iterator[Hit]:
    """an identity header is set behind the check.

    What a route or a filter writes there takes the place of what the service said, or stands beside it.
    """
    for hcm, check in pairs(model):
        names = identity_headers(model, hcm)
        levels = [level for route in hcm.routes for level in route.levels]
        added = [each for level in levels for each in level.at("request_headers_to_add").items]
        behind = hcm.filters[hcm.filters.index(check) :]
        mutations = [filter_.config.at("mutations.request_mutations") for filter_ in behind]
        own = [node for level in levels for node in (level.at("typed_per_filter_config").fields or {}).values()]
        mutations += [node.at("mutations.request_mutations") for node in own]
        added += [each.at("append") for mutation in mutations for each in mutation.items]
        for each in added:
            key = each.at("header.key")
            if key.text.lower() in names:
                what = f"{key.text} is set behind the check: {each.at('header.value').text}"
                yield hit(key, what, "leave it as the service returned it", each.put("header.key", "x-not-identity"))


@rule("envoy-word-from-client", Severity.FATAL, "early_header_mutation_extensions, envoy.filters.http.header_mutation")
def _believed(model: EnvoyModel) -> Iterator[Hit]:
    """a header that the service goes by is set to what the client wrote.

    A mutation before the check puts the client's word in the place of Envoy's.
    """
    for hcm, check in pairs(model):
        believed = {pattern.at("exact").text.lower() for pattern in check.config.at("allowed_headers.patterns").items}
        for each in (mutation.at("append") for mutation in hcm.mutations):
            key, value = each.at("header.key"), each.at("header.value").text
            if "%REQ(" in value.upper() and key.text.lower() in believed:
                what = f"{key.text}, which the service goes by, is set to what the client wrote: {value}"
                yield hit(key, what, "leave it as Envoy makes it", each.put("header.key", "x-not-believed"))


@rule(
    "envoy-payload-from-client",
    Severity.FATAL,
    "jwt_authn.v3.JwtProvider.forward_payload_header, claim_to_headers; FilterConfig.disabled",
)
def _payload(model: EnvoyModel) -> Iterator[Hit]:
    """the header of a verified token's payload may be the client's own.

    jwt_authn removes it where it runs; where a route switches the filter off, the client says who it is.
    """
    for hcm in model.checked:
        for each in hcm.before:
            if each.kind != "jwt_authn" or not _skipped(hcm, each):
                continue
            for provider in (each.config.at("providers").fields or {}).values():
                for node in _handed_over(provider):
                    if not hcm.removed(node.text):
                        what = f"where jwt_authn does not run, a client's own {node.text} is taken for a verified one"
                        yield hit(node, what, "remove it before the filters", hcm.remove_early(node.text))


def _skipped(hcm: Hcm, tokens: HttpFilter) -> bool:
    """Whether jwt_authn does not run for some requests: where it does, it removes a client's own header itself."""
    own = (level.at("typed_per_filter_config").field(tokens.name) for route in hcm.routes for level in route.levels)
    return tokens.disabled or tokens.conditional or any(node.at("disabled").flag() for node in own)


def _handed_over(provider: Node) -> Iterator[Node]:
    if payload := provider.at("forward_payload_header"):
        yield payload
    for claim in provider.at("claim_to_headers").items:
        yield claim.at("header_name")


@rule("envoy-underscores", Severity.WARNING, "HttpProtocolOptions.headers_with_underscores_action")
def _underscores(model: EnvoyModel) -> Iterator[Hit]:
    """headers with underscores are let through.

    Many servers fold _ into -: a client's x_authz_user becomes x-authz-user.
    """
    field = "common_http_protocol_options.headers_with_underscores_action"
    for hcm in model.checked:
        node = hcm.node.at(field)
        if node.choice("ALLOW", "REJECT_REQUEST", "DROP_HEADER") == "ALLOW":
            mend = hcm.node.put(field, "REJECT_REQUEST")
            yield hit(node or hcm.node, "headers with an underscore pass: x_authz_user", "refuse them", mend)


@rule(
    "envoy-headers-joined",
    Severity.INFO,
    f"{_RESPONSE.replace('AuthorizationResponse', 'ExtAuthz')}.encode_raw_headers",
)
def _joined(model: EnvoyModel) -> Iterator[Hit]:
    """headers of one name reach the service joined by a comma.

    What arrived twice looks like one value, which a service that refuses doubles cannot see.
    """
    for _, check in pairs(model):
        if check.config.at("http_service") and not check.config.at("encode_raw_headers").flag():
            mend = check.config.put("encode_raw_headers", True)
            yield hit(check.node, "two headers of one name reach the service as one", "hand both over", mend)


@rule("envoy-forwarded-host", Severity.INFO, "RFC 7239")
def _forwarded(model: EnvoyModel) -> Iterator[Hit]:
    """a client's own x-forwarded-host or forwarded reaches the application.

    The service judged the Host; an application that goes by these may serve another organization.
    """
    for hcm in model.checked:
        for name in ("x-forwarded-host", "forwarded"):
            if not hcm.removed(name):
                what = f"a client's own {name} reaches the application"
                yield hit(
                    hcm.early or hcm.node, what, "remove it, if the application goes by it", hcm.remove_early(name)
                )


def _told(hcm: Hcm) -> set[str]:
    """The headers in which Envoy tells the service something, and which the application is not to take for its word."""
    path = "http_service.authorization_request.headers_to_add"
    added = hcm.check.config.at(path).items if hcm.check else ()
    return {each.at("key").text.lower() for each in added if each.at("key").text.lower().startswith(_OURS)}


@rule("envoy-certificate-headers", Severity.INFO, "RFC 9440 section 4; the names that authz.headers knows")
def _certificate_headers(model: EnvoyModel) -> Iterator[Hit]:
    """certificate headers of other proxies reach the application.

    An application that believes one of them believes the client.
    """
    for hcm in model.checked:
        readable = KNOWN_HEADERS - {"x-forwarded-client-cert"} | _told(hcm)
        passed = [name for name in sorted(readable) if not hcm.removed(name)]
        if passed:
            what = f"certificate headers reach the application as the client wrote them: {', '.join(passed)}"
            mend = hcm.remove_early(*passed)
            yield hit(hcm.early or hcm.node, what, "remove them, if the application goes by one", mend)


IDENTITY_RULES: Final[tuple[Rule[EnvoyModel], ...]] = (
    _not_taken, _survives, _unnamed, _appended, _removed_late, _rewritten, _believed, _payload, _underscores,
    _joined, _forwarded, _certificate_headers,
)  # fmt: skip
