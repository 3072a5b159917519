"""Gate 1, the cheap half: selects the header that holds the certificate, and refuses any other that claims to.

It looks at names and lengths only, before organization and user are known.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.errors import Refused
from authz.model import CertificateForm, fold
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.model import CheckRequest, HeaderRules

# The names under which proxies pass certificates on; at a listener that reads one, the others are forged.
KNOWN_HEADERS: Final = frozenset(
    {
        "x-forwarded-client-cert",  # Envoy
        "client-cert",  # RFC 9440
        "client-cert-chain",  # RFC 9440
        "ssl-client-cert",  # ingress-nginx
        "x-ssl-client-cert",  # nginx, HAProxy, by custom
        "x-ssl-cert",  # nginx, by custom
        "x-client-cert",  # nginx, Caddy, by custom
        "x-client-certificate",  # by custom
        "x-forwarded-tls-client-cert",  # Traefik
        "x-forwarded-tls-client-cert-info",  # Traefik
        "x-amzn-mtls-clientcert",  # AWS ALB
        "x-amzn-mtls-clientcert-leaf",  # AWS ALB
        "x-arr-clientcert",  # Azure
    }
)
_SUSPECT: Final = frozenset(fold(name)[1] for name in KNOWN_HEADERS)


class Selected(NamedTuple):
    """The undecoded value of the certificate header, and of the chain header where the form has one.

    The form is part of it: the same bytes have another meaning at a listener of another form.
    """

    value: bytes
    chain: bytes | None = None
    form: CertificateForm = CertificateForm.XFCC


def select(check: CheckRequest, rules: HeaderRules) -> Selected | None:
    """The value of the header that the rules name, or None if it is absent.

    Raises `Refused`: header_unexpected for another certificate header or an underscore twin,
    header_ambiguous for a second one, header_too_large.
    """
    wanted, twins = _names(rules.certificate_header, rules.chain_header)
    values: dict[bytes, bytes] = {}
    for folded, headers in check.headers_by_folded_name.items():
        # Servers treat "-" and "_" as one: a header that one may take for another must not arrive beside it.
        if folded not in twins:
            continue
        for name, value in headers:
            if name not in wanted:
                raise Refused(Reason.HEADER_UNEXPECTED, f"{name.decode('latin-1')} is not this listener's")
            if name in values:
                raise Refused(Reason.HEADER_AMBIGUOUS, f"{name.decode('ascii')} arrived twice")
            values[name] = value
    return _selected(values, wanted, rules) if values else None


def replayable_headers(check: CheckRequest, rules: HeaderRules) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of `check` that gate 1 reads, and no others: enough to replay it."""
    _, twins = _names(rules.certificate_header, rules.chain_header)
    looked_at = twins if rules.indicator_header is None else twins | {fold(rules.indicator_header)[1]}
    return tuple(header for header in check.headers if header[0].replace(b"-", b"_") in looked_at)


@cache
def _names(*names: str | None) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    """The headers that a listener's rules name, and the folded names of all that may pass for a certificate header."""
    spelled = [fold(name) for name in names if name is not None]
    return tuple(name for name, _ in spelled), _SUSPECT | {folded for _, folded in spelled}


def _selected(values: dict[bytes, bytes], wanted: tuple[bytes, ...], rules: HeaderRules) -> Selected:
    size = sum(map(len, values.values()))
    if size > rules.max_bytes:
        raise Refused(Reason.HEADER_TOO_LARGE, f"{size} bytes, {rules.max_bytes} are the limit")
    value = values.get(wanted[0])
    if value is None:
        raise Refused(Reason.HEADER_WITHOUT_CERTIFICATE, "a chain header without a certificate header")
    chain = values.get(wanted[1]) if len(wanted) > 1 else None
    return Selected(value, chain, rules.form)
