"""Compares the proxy's indicator, a header about the client certificate, with the certificate header.

A header can be lost on the way (a hop-by-hop removal, a filter): without a certificate header, a request
counts as one without a certificate only if the indicator agrees.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.model import IndicatorForm, fold
from authz.reasons import Reason

if TYPE_CHECKING:
    from authz.model import CheckRequest, HeaderRules, PresentedChain

ENVOY_PREFIX: Final = b"sha256="
"""deploy/envoy.yaml writes `sha256=%DOWNSTREAM_PEER_FINGERPRINT_256%`."""

ENVOY_NONE: Final = ENVOY_PREFIX
"""The value in Envoy 1.40 if the client presented no certificate: an unset value inside text is empty."""

NGINX_NONE: Final = b"NONE"
"""`$ssl_client_verify` if the client presented no certificate, or none was requested."""

_NGINX_PRESENTED: Final = re.compile(rb"SUCCESS|GENEROUS|FAILED:[\x20-\x7e]+")
"""Its value if the client presented one; only that matters, not whether nginx accepts it. GENEROUS is Apache's."""


def check_indicator(check: CheckRequest, rules: HeaderRules, presented: PresentedChain | None) -> None:
    """Compare the indicator with the chain that the nearest proxy passed on (None: no certificate).

    Raises `Refused`: proxy_statement_missing unless the indicator arrived exactly once,
    proxy_statement_contradicts unless it agrees.
    """
    if rules.indicator is IndicatorForm.NONE or rules.indicator_header is None:
        return
    name, folded = fold(rules.indicator_header)
    values = check.headers_by_folded_name.get(folded, ())
    if len(values) != 1 or values[0][0] != name:
        raise Refused(Reason.PROXY_STATEMENT_MISSING, f"{rules.indicator_header} arrived {len(values)} times")
    if not _agrees(values[0][1], rules, presented):
        raise Refused(Reason.PROXY_STATEMENT_CONTRADICTS, f"{rules.indicator_header} contradicts it")


def _agrees(value: bytes, rules: HeaderRules, presented: PresentedChain | None) -> bool:
    if rules.indicator is IndicatorForm.ENVOY_FINGERPRINT:
        return value == (ENVOY_NONE if presented is None else ENVOY_PREFIX + presented.sha256.hex().encode("ascii"))
    if rules.indicator is IndicatorForm.NGINX_VERIFY:
        return value == NGINX_NONE if presented is None else _NGINX_PRESENTED.fullmatch(value) is not None
    if presented is None:
        return value in rules.indicator_none
    if rules.indicator is IndicatorForm.FLAG:
        return value in rules.indicator_presented
    # HAProxy's `hex` writes capitals.
    prefix, digest = rules.indicator_prefix, presented.sha256.hex().encode("ascii")
    return value.startswith(prefix) and value[len(prefix) :].lower() == digest
