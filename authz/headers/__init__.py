"""From a proxy's certificate header to the chain presented. Level 1: no I/O, no clock; every form ends in one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from authz.headers import base64_der, escaped_pem, rfc9440, xfcc, xfcc_json
from authz.headers.memo import HeaderMemo
from authz.headers.selection import KNOWN_HEADERS, Selected, evidence, select
from authz.headers.statement import check_statement
from authz.model import CertificateForm, HeaderRules, PresentedChain

__all__ = [
    "KNOWN_HEADERS",
    "READABLE",
    "WITH_HOPS",
    "HeaderMemo",
    "Selected",
    "check_statement",
    "decode",
    "evidence",
    "present",
    "select",
]

_READERS: Final[dict[CertificateForm, Callable[[bytes, HeaderRules], tuple[PresentedChain, ...]]]] = {
    CertificateForm.XFCC_JSON: xfcc_json.decode,
    CertificateForm.ESCAPED_PEM: escaped_pem.decode,
    CertificateForm.BASE64_DER: base64_der.decode,
}
READABLE: Final = frozenset({CertificateForm.XFCC, CertificateForm.RFC9440, *_READERS})
"""The forms that can be configured."""

WITH_HOPS: Final = frozenset({CertificateForm.XFCC, CertificateForm.XFCC_JSON})
"""The forms to which each proxy on the way adds an element; the others hold the nearest proxy's word only."""


present = xfcc.present


def decode(selected: Selected, rules: HeaderRules, memo: HeaderMemo | None = None) -> tuple[PresentedChain, ...]:
    """The presented chains of a selected header, the nearest proxy's last. Raises `Refused` with a header reason.

    `memo` may know parts of it, and is told nothing: whoever verifies the path puts it there.
    """
    if rules.form is CertificateForm.RFC9440:
        return rfc9440.decode(selected.value, selected.chain, rules)
    if rules.form is CertificateForm.XFCC:
        return xfcc.decode(selected.value, rules, None if memo is None else memo.above)
    return _READERS[rules.form](selected.value, rules)
