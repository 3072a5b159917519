"""Gate 1, the cheap half: which header holds the certificate, and that no other claims to.

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

# The names under which proxies hand certificates over; at a listener that takes one, the others are lies.
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

    The listener's form belongs to it: the same octets mean something else at another listener.
    """

    value: bytes
    chain: bytes | None = None
    form: CertificateForm = CertificateForm.XFCC


def select(check: CheckRequest, rules: HeaderRules) -> Selected | None:
    """The value of the one header that the rules name, or None when it is absent.

    Raises `Refused`: header_unexpected for another certificate header or an underscore twin,
    header_ambiguous for a second one, header_too_large.
    """
    wanted, twins = _names(rules.certificate_header, rules.chain_header)
    found: dict[bytes, bytes] = {}
    for folded, alike in check.alike.items():
        # Servers fold "-" and "_" into one: what may be taken for the header must not stand beside it.
        if folded not in twins:
            continue
        for name, value in alike:
            if name not in wanted:
                raise Refused(Reason.HEADER_UNEXPECTED, f"{name.decode('latin-1')} is not this listener's")
            if name in found:
                raise Refused(Reason.HEADER_AMBIGUOUS, f"{name.decode('ascii')} arrived twice")
            found[name] = value
    return _selected(found, wanted, rules) if found else None


def evidence(check: CheckRequest, rules: HeaderRules) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of `check` that gate 1 looks at, and no other: what is needed to pass it again."""
    _, twins = _names(rules.certificate_header, rules.chain_header)
    looked_at = twins if rules.statement_header is None else twins | {fold(rules.statement_header)[1]}
    return tuple(one for one in check.headers if one[0].replace(b"-", b"_") in looked_at)


@cache
def _names(*names: str | None) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    """The headers that a listener's rules name; and, folded, everything that may be taken for a certificate header."""
    spelled = [fold(one) for one in names if one is not None]
    return tuple(name for name, _ in spelled), _SUSPECT | {folded for _, folded in spelled}


def _selected(found: dict[bytes, bytes], wanted: tuple[bytes, ...], rules: HeaderRules) -> Selected:
    size = sum(map(len, found.values()))
    if size > rules.max_bytes:
        raise Refused(Reason.HEADER_TOO_LARGE, f"{size} octets, {rules.max_bytes} are the limit")
    value = found.get(wanted[0])
    if value is None:
        raise Refused(Reason.HEADER_WITHOUT_CERTIFICATE, "a chain header without a certificate header")
    chain = found.get(wanted[1]) if len(wanted) > 1 else None
    return Selected(value, chain, rules.form)
