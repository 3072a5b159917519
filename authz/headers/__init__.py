"""Decodes a proxy's certificate header, in any form, to the chain presented. Level 1: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from authz.errors import Refused
from authz.headers import base64_der, escaped_pem, rfc9440, xfcc, xfcc_json
from authz.headers.client_request import read_client_request
from authz.headers.decode_cache import DecodeCache
from authz.headers.element import presented
from authz.headers.indicator import check_indicator
from authz.headers.selection import KNOWN_HEADERS, Selected, replayable_headers, select
from authz.model import CertificateForm, HeaderRules, PresentedChain
from authz.reasons import Reason

__all__ = [
    "KNOWN_HEADERS",
    "READABLE",
    "WITH_ELEMENTS",
    "DecodeCache",
    "Selected",
    "check_indicator",
    "decode",
    "present",
    "read_client_request",
    "replayable_headers",
    "select",
]

# The forms with one chain, the leaf first.
_PARSERS: Final[dict[CertificateForm, Callable[[bytes], tuple[bytes, ...]]]] = {
    CertificateForm.ESCAPED_PEM: escaped_pem.parse,
    CertificateForm.BASE64_DER: base64_der.parse,
}
WITH_ELEMENTS: Final = frozenset({CertificateForm.XFCC, CertificateForm.XFCC_JSON})
"""The forms to which each proxy on the way adds an element; in the others only the nearest proxy writes."""

READABLE: Final = frozenset({CertificateForm.RFC9440, *WITH_ELEMENTS, *_PARSERS})
"""The forms that can be configured."""

present = xfcc.present


def decode(selected: Selected, rules: HeaderRules, cache: DecodeCache | None = None) -> tuple[PresentedChain, ...]:
    """The presented chains of a selected header, the nearest proxy's last. Raises `Refused` with a header reason.

    Parts of it may be in `cache`, which is only read: the caller fills it once the path has been verified.
    """
    try:
        return _decode(selected, rules, cache)
    except Refused as refusal:
        if refusal.reason is not Reason.HEADER_MALFORMED:
            raise
        raise Refused(refusal.reason, refusal.detail + _other_form(selected.value, rules.form)) from refusal


_BEGINNINGS: Final[dict[CertificateForm, tuple[bytes, ...]]] = {
    CertificateForm.ESCAPED_PEM: (b"-----BEGIN",),
    CertificateForm.BASE64_DER: (b"MI",),  # a SEQUENCE of more than 127 bytes
    CertificateForm.RFC9440: (b":MI",),
    CertificateForm.XFCC: (b"Hash=", b"By=", b"Cert="),
    CertificateForm.XFCC_JSON: (b"[{",),
}


def _other_form(value: bytes, own: CertificateForm) -> str:
    """The form that a malformed value may have, for the one who configured the listener; by its first bytes alone."""
    for form, beginning in _BEGINNINGS.items():
        if form is not own and value.startswith(beginning):
            return f"; it begins like {form}: compare certificate.form"
    return ""


def _decode(selected: Selected, rules: HeaderRules, cache: DecodeCache | None) -> tuple[PresentedChain, ...]:
    if rules.form is CertificateForm.RFC9440:
        return rfc9440.decode(selected.value, selected.chain, rules)
    if rules.form is CertificateForm.XFCC:
        return xfcc.decode(selected.value, rules, None if cache is None else cache.intermediates)
    if rules.form is CertificateForm.XFCC_JSON:
        return xfcc_json.decode(selected.value, rules)
    return (presented(None, _PARSERS[rules.form](selected.value), rules),)
