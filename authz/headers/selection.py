"""Gate 1, the cheap half: selects the header that holds the certificate, and refuses any other that claims to.

It looks at names and lengths only, before organization and user are known.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refused
from authz.model import CertificateForm, IndicatorForm, fold
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.model import CheckRequest, HeaderRules

# What one proxy writes side by side: the listener that reads one of them passes over the others.
_FAMILIES: Final[tuple[frozenset[str], ...]] = (
    frozenset({"x-forwarded-tls-client-cert", "x-forwarded-tls-client-cert-info"}),  # Traefik
    frozenset({"x-amzn-mtls-clientcert", "x-amzn-mtls-clientcert-leaf"}),  # AWS ALB
    frozenset(
        f"cloudfront-viewer-cert-{what}"
        for what in ("pem", "serial-number", "issuer", "subject", "present", "sha256", "validity")
    ),
    # ingress-nginx, and Apache with one header for each certificate of the chain, of which a proxy can remove some.
    frozenset({"ssl-client-cert", *(f"ssl-client-cert-chain-{number}" for number in range(4))}),
)

# The names under which proxies pass certificates on; at a listener that reads one, the others are forged.
KNOWN_HEADERS: Final = frozenset(
    {
        "x-forwarded-client-cert",  # Envoy
        "client-cert",  # RFC 9440
        "client-cert-chain",  # RFC 9440
        "x-ssl-client-cert",  # nginx, HAProxy, by custom
        "x-ssl-cert",  # nginx, by custom
        "x-client-cert",  # nginx, Caddy, by custom
        "x-client-cert-leaf",  # Google Cloud
        "x-client-cert-chain",  # Google Cloud
        "x-client-certificate",  # by custom
        "x-arr-clientcert",  # Azure
        "cf-client-cert-der-base64",  # Cloudflare
    }
).union(*_FAMILIES)
_CHAIN: Final = frozenset(f"ssl-client-cert-chain-{number}" for number in range(100))
"""Apache's, for more certificates than any chain has."""

_SUSPECT: Final = frozenset(fold(name)[1] for name in KNOWN_HEADERS | _CHAIN)


class Selected(NamedTuple):
    """The undecoded value of the certificate header, and of the chain header where the form has one.

    The form is part of it: the same bytes have another meaning at a listener of another form.
    """

    value: bytes
    chain: bytes | None = None
    form: CertificateForm = CertificateForm.XFCC


def select(check: CheckRequest, rules: HeaderRules) -> Selected | None:
    """The value of the header that the rules name, or None without a certificate: the header is absent, or says so.

    Raises `Refused`: header_unexpected for another certificate header or an underscore twin,
    header_ambiguous for a second one, header_too_large, header_without_certificate.
    """
    wanted, twins = _names(rules.certificate_header, rules.chain_header, rules.indicator_header)
    names = check.headers_by_folded_name
    values: dict[bytes, bytes] = {}
    # Servers treat "-" and "_" as one: a header that one may take for another must not arrive beside it.
    for folded in filter(twins.__contains__, names):
        for name, value in names[folded]:
            if name not in wanted:
                raise Refused(Reason.HEADER_UNEXPECTED, f"{name.decode('latin-1')} is not this listener's")
            if name in values:
                raise Refused(Reason.HEADER_AMBIGUOUS, f"{name.decode('ascii')} arrived twice")
            values[name] = value
    if values:
        return _selected(values, wanted, rules)
    if rules.none_values and rules.indicator is IndicatorForm.NONE:
        # Lost on the way, as by a client's Connection header; a statement would say so.
        raise Refused(Reason.HEADER_WITHOUT_CERTIFICATE, f"no {rules.certificate_header}, which its proxy always sends")
    return None


def replayable_headers(check: CheckRequest, rules: HeaderRules) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of `check` that gate 1 reads, and no others: enough to replay it."""
    _, twins = _names(rules.certificate_header, rules.chain_header, rules.indicator_header)
    looked_at = twins if rules.indicator_header is None else twins | {fold(rules.indicator_header)[1]}
    return tuple(header for header in check.headers if header[0].replace(b"-", b"_") in looked_at)


@cache
def _names(certificate: str, chain: str | None, indicator: str | None) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    """The headers of a listener's certificate and chain, and the folded names of all that may pass for one.

    The indicator is compared elsewhere, and what the listener's own proxy writes beside the certificate is passed over.
    """
    spelled = [fold(name) for name in (certificate, chain) if name is not None]
    beside = {name for family in _FAMILIES if certificate in family for name in family}
    beside |= _CHAIN if beside & _CHAIN else set()
    passed = {fold(name)[1] for name in (*beside, indicator) if name is not None}
    return tuple(name for name, _ in spelled), (_SUSPECT - passed) | {folded for _, folded in spelled}


def _selected(values: dict[bytes, bytes], wanted: tuple[bytes, ...], rules: HeaderRules) -> Selected | None:
    size = sum(map(len, values.values()))
    if size > rules.max_bytes:
        raise Refused(Reason.HEADER_TOO_LARGE, f"{size} bytes, {rules.max_bytes} are the limit")
    value = values.get(wanted[0])
    chain = values.get(wanted[1]) if len(wanted) > 1 else None
    if chain is not None and chain in rules.none_values:
        chain = b""
    if value is None or value in rules.none_values:
        if value is None or chain:
            raise Refused(Reason.HEADER_WITHOUT_CERTIFICATE, "a chain header without a certificate header")
        return None
    return Selected(value, chain, rules.form)
