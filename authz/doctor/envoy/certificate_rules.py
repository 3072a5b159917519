"""Rules over the client's certificate: whether it is asked for, handed over, and no other word is taken for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from authz.doctor.envoy.identity_rules import pairs
from authz.doctor.envoy.model import EnvoyModel, Hcm, HttpFilter, hit, matches, name_of, untrusted
from authz.doctor.findings import Hit, Rule, Severity, rule
from authz.doctor.tree import Node

_CONTEXT: Final = "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext"

XFCC: Final = "x-forwarded-client-cert"
_MODE: Final = "forward_client_cert_details"
_MODES: Final = ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")
_DETAILS: Final = "set_current_client_cert_details"


def mode(hcm: Hcm) -> str:
    """What Envoy does with a client's own certificate header."""
    return hcm.node.at(_MODE).choice(*_MODES)


def takes_certificates(model: EnvoyModel, check: HttpFilter) -> bool:
    """Whether the service goes by the certificate header: it is configured to get it, or it is this project's."""
    return bool(model.ours) or any(node.text.lower() == XFCC for node in check.config.walk())


def _gateways(model: EnvoyModel, hcm: Hcm) -> bool:
    """Whether only a gateway with a certificate of the mesh can connect, whose element may stand before Envoy's."""
    context = model.validation(hcm.tls)
    return hcm.tls.at("require_client_certificate").flag() and bool(context) and not untrusted(context)


@rule("envoy-certificate-forwarded", Severity.FATAL, "HttpConnectionManager.ForwardClientCertDetails")
def _forwarded(model: EnvoyModel) -> Iterator[Hit]:
    """a client's own certificate header is believed.

    FORWARD_ONLY and ALWAYS_FORWARD_ONLY hand it on instead of Envoy's, APPEND_FORWARD before it: a client can show any
    certificate without its key.
    """
    for hcm in model.hcms:
        how, node = mode(hcm), hcm.node.at(_MODE)
        if how in {"FORWARD_ONLY", "ALWAYS_FORWARD_ONLY"} or (how == "APPEND_FORWARD" and not _gateways(model, hcm)):
            what = f"{how}: a client's own {XFCC} is handed on as Envoy's word"
            yield hit(node, what, "replace it by Envoy's own", hcm.node.put(_MODE, "SANITIZE_SET"))


@rule("envoy-certificate-not-handed-over", Severity.FATAL, "HttpConnectionManager.forward_client_cert_details")
def _missing(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy hands no certificate over.

    SANITIZE, the default, removes the header and writes none: every client seems to have none.
    """
    for hcm, check in pairs(model):
        peer = check.config.at("include_peer_certificate").flag()
        if mode(hcm) == "SANITIZE" and takes_certificates(model, check) and not peer:
            mend = hcm.node.put(_MODE, "SANITIZE_SET")
            if not hcm.node.at(_DETAILS):
                mend += hcm.node.put(_DETAILS, {"cert": True, "chain": True})
            yield hit(hcm.node.at(_MODE) or hcm.node, "Envoy hands no certificate over", "let it write its own", mend)


@rule("envoy-certificate-hash-only", Severity.FATAL, "HttpConnectionManager.SetCurrentClientCertDetails")
def _without_certificate(model: EnvoyModel) -> Iterator[Hit]:
    """the certificate header holds no certificate.

    With neither cert nor chain there is a hash, which cannot be validated.
    """
    for hcm in model.hcms:
        details = hcm.node.at(_DETAILS)
        writes = mode(hcm) in {"SANITIZE_SET", "APPEND_FORWARD"}
        if writes and not (details.at("cert").flag() or details.at("chain").flag()):
            mend = hcm.node.put(f"{_DETAILS}.cert", True) + hcm.node.put(f"{_DETAILS}.chain", True)
            what = "the certificate header holds a hash and no certificate"
            yield hit(details or hcm.node, what, "hand over certificate and chain", mend if details else mend[:1])


@rule("envoy-certificate-names", Severity.WARNING, "HttpConnectionManager.SetCurrentClientCertDetails uri, dns")
def _names(model: EnvoyModel) -> Iterator[Hit]:
    """names of the certificate are written into the header unescaped.

    A certificate with a URI of ;Cert="…", forges pairs and elements of the header.
    """
    for hcm in model.hcms:
        details = hcm.node.at(_DETAILS)
        if details.at("format").choice("TEXT", "JSON") == "JSON" or details.at("format").text == "2":
            continue
        for name in ("uri", "dns"):
            if details.at(name).flag():
                what = f"names of the kind {name} go into the header unescaped"
                yield hit(details.at(name), what, "leave them out", hcm.node.put(f"{_DETAILS}.{name}", False))


@rule("envoy-no-certificate-request", Severity.FATAL, f"{_CONTEXT}; RFC 8446 section 4.3.2")
def _no_request_for_one(model: EnvoyModel) -> Iterator[Hit]:
    """no listener asks its clients for a certificate.

    Without a validation context Envoy sends no CertificateRequest: no client can show one.
    """
    certified = [hcm for hcm, check in pairs(model) if takes_certificates(model, check)]
    if any(model.asks_for_certificate(hcm) for hcm in certified):
        return
    context = {"validation_context": {"trusted_ca": {"filename": "/etc/envoy/tls/client-ca.pem"}}}
    for hcm in certified:
        common = hcm.tls.at("common_tls_context")
        mend = common.put("validation_context", context["validation_context"]) if hcm.tls else ()
        yield hit(
            common or hcm.chain, f"{name_of(hcm.listener)} asks for no certificate", "name the clients' CAs", mend
        )


@rule("envoy-require-ignored", Severity.FATAL, "DownstreamTlsContext.require_client_certificate")
def _require_ignored(model: EnvoyModel) -> Iterator[Hit]:
    """require_client_certificate is set and demands nothing.

    Without a validation context, or with ACCEPT_UNTRUSTED, Envoy lets clients without a certificate in.
    """
    for hcm in model.hcms:
        context, node = model.validation(hcm.tls), hcm.tls.at("require_client_certificate")
        if node.flag() and (untrusted(context) or not model.asks_for_certificate(hcm)):
            what = "require_client_certificate demands nothing here"
            ca = {"filename": "/etc/envoy/tls/client-ca.pem"}
            mend = context.put("trust_chain_verification", "VERIFY_TRUST_CHAIN")
            if not context.at("trusted_ca"):
                mend = hcm.tls.put("common_tls_context.validation_context", {"trusted_ca": ca})
            yield hit(node, what, "name the clients' CAs, and accept no others", mend)


@rule("envoy-untrusted-accepted", Severity.INFO, f"{_CONTEXT}.trust_chain_verification")
def _untrusted(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy takes certificates that do not verify.

    A self-signed certificate arrives like a good one; only a service that validates again tells them apart.
    """
    for hcm in model.hcms:
        context = model.validation(hcm.tls)
        if untrusted(context):
            what = "Envoy takes every certificate: the service's validation is the only one"
            yield hit(context, what, "right before a service that validates (--request-level), wrong before any other")


@rule("envoy-require-unsaid", Severity.WARNING, "DownstreamTlsContext.require_client_certificate; Envoy 1.40 logs it")
def _require_unsaid(model: EnvoyModel) -> Iterator[Hit]:
    """require_client_certificate is not written out.

    Envoy warns that the default will change: users who have no certificate would then be locked out.
    """
    for hcm in model.hcms:
        if model.asks_for_certificate(hcm) and not hcm.tls.at("require_client_certificate"):
            mend = hcm.tls.put("require_client_certificate", False)
            yield hit(hcm.tls, "whether a certificate is demanded is not written out", "write it", mend)


@rule("envoy-crl-empty", Severity.FATAL, f"{_CONTEXT}.crl")
def _empty_crl(model: EnvoyModel) -> Iterator[Hit]:
    """Envoy's CRL is empty.

    An empty CRL switches revocation off, without a word; revoked certificates verify.
    """
    for hcm in model.hcms:
        crl = model.validation(hcm.tls).at("crl")
        if crl and _empty(crl):
            yield hit(crl, "the CRL is empty: nothing is revoked", "take it out, or fill it", ())


def _empty(crl: Node) -> bool:
    for kind in ("inline_string", "inline_bytes"):
        if crl.field(kind):
            return not crl.field(kind).text.strip()
    path = Path(crl.at("filename").text)
    return path.is_file() and path.stat().st_size == 0


@rule(
    "envoy-certificate-not-sent", Severity.FATAL, "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz.allowed_headers"
)
def _unsent(model: EnvoyModel) -> Iterator[Hit]:
    """the service is not sent the certificate header.

    An HTTP service gets host, method, path and what allowed_headers names: every client seems to have none.
    """
    for hcm, check in pairs(model):
        http = check.config.at("http_service")
        if not http or mode(hcm) not in {"SANITIZE_SET", "APPEND_FORWARD"}:
            continue
        if not any(matches(pattern, XFCC) for pattern in sent(check)) and not _copied(check):
            patterns = check.config.at("allowed_headers.patterns")
            value = {"exact": XFCC}
            mend = patterns.append(value) or check.config.put("allowed_headers.patterns", [value])
            yield hit(check.node, f"the service is not sent {XFCC}", "allow it", mend)


def sent(check: HttpFilter) -> list[Node]:
    """The patterns of the headers that the service is sent."""
    older = check.config.at("http_service.authorization_request.allowed_headers.patterns")
    refused = check.config.at("disallowed_headers.patterns").items
    if any(matches(pattern, XFCC) for pattern in refused):
        return []
    return [*check.config.at("allowed_headers.patterns").items, *older.items]


def _copied(check: HttpFilter) -> bool:
    """Whether it goes under another name."""
    added = check.config.at("http_service.authorization_request.headers_to_add").items
    return any(XFCC in each.at("value").text.lower() or "PEER_CERT%" in each.at("value").text for each in added)


CERTIFICATE_RULES: Final[tuple[Rule[EnvoyModel], ...]] = (
    _forwarded, _missing, _without_certificate, _names, _unsent, _no_request_for_one, _require_ignored,
    _require_unsaid, _untrusted, _empty_crl,
)  # fmt: skip
