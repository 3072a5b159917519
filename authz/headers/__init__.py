"""From a proxy's certificate header to the chain presented. Level 1: no I/O, no clock; every form ends in one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from authz.headers import xfcc, xfcc_json
from authz.headers.memo import HeaderMemo, OctetMemo
from authz.headers.selection import KNOWN_HEADERS, Selected, evidence, select
from authz.headers.statement import check_statement
from authz.model import CertificateForm, HeaderRules, PresentedChain

__all__ = [
    "KNOWN_HEADERS",
    "READABLE",
    "HeaderMemo",
    "OctetMemo",
    "Selected",
    "check_statement",
    "decode",
    "evidence",
    "present",
    "select",
]

_READERS: Final[dict[CertificateForm, Callable[[bytes, HeaderRules], tuple[PresentedChain, ...]]]] = {
    CertificateForm.XFCC: xfcc.decode,
    CertificateForm.XFCC_JSON: xfcc_json.decode,
}
READABLE: Final = frozenset(_READERS)
"""The forms that can be configured."""


present = xfcc.present


def decode(selected: Selected, rules: HeaderRules) -> tuple[PresentedChain, ...]:
    """The presented chains of a selected header, the nearest proxy's last. Raises `Refused` with a header reason."""
    return _READERS[rules.form](selected.value, rules)
