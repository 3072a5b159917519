"""What the proxy itself states about the client certificate, against what the certificate header holds.

A header can be lost on the way (a hop-by-hop removal, a filter): its silence counts as "no
certificate" only when the proxy says so too.
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
"""What Envoy 1.40 makes of that when the client showed no certificate: an unset value inside text is empty."""

NGINX_NONE: Final = b"NONE"
"""`$ssl_client_verify` of a client that showed no certificate, or was asked for none."""

_NGINX_SHOWN: Final = re.compile(rb"SUCCESS|FAILED:[\x20-\x7e]+")
"""What it says of one that showed some; nginx's opinion of the certificate decides nothing, only that there is one."""


def check_indicator(check: CheckRequest, rules: HeaderRules, presented: PresentedChain | None) -> None:
    """Compare the statement with the chain handed over by the nearest proxy, or None if it handed over none.

    Raises `Refused`: proxy_statement_missing unless the header is there exactly once,
    proxy_statement_contradicts unless it says the same.
    """
    if rules.indicator is IndicatorForm.NONE or rules.indicator_header is None:
        return
    name, folded = fold(rules.indicator_header)
    values = check.headers_by_folded_name.get(folded, ())
    if len(values) != 1 or values[0][0] != name:
        raise Refused(Reason.PROXY_STATEMENT_MISSING, f"{rules.indicator_header} arrived {len(values)} times")
    agrees = _envoy if rules.indicator is IndicatorForm.ENVOY_FINGERPRINT else _nginx
    if not agrees(values[0][1], presented):
        raise Refused(Reason.PROXY_STATEMENT_CONTRADICTS, f"{rules.indicator_header} says otherwise")


def _envoy(value: bytes, presented: PresentedChain | None) -> bool:
    if presented is None:
        return value == ENVOY_NONE
    return value == ENVOY_PREFIX + presented.sha256.hex().encode("ascii")


def _nginx(value: bytes, presented: PresentedChain | None) -> bool:
    if presented is None:
        return value == NGINX_NONE
    return _NGINX_SHOWN.fullmatch(value) is not None
