"""From the fields of one header element to the chain presented: the rules common to all forms."""

from __future__ import annotations

import re
from binascii import hexlify
from typing import TYPE_CHECKING, Final

from authz.errors import Refused
from authz.model import PresentedChain
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from authz.model import HeaderRules

MAX_ELEMENTS: Final = 16
"""More proxies in a row than any deployment has; the caller checks the exact number."""

_is_sha256: Final = re.compile(rb"[0-9a-f]{64}").fullmatch


def presented(
    leaf: bytes | None, chain: Sequence[bytes], rules: HeaderRules, *, digest: bytes | None = None
) -> PresentedChain:
    """The presented chain of a leaf and a chain (DER), checked against the SHA-256 (in hexadecimal), if any.

    The proxy also writes the leaf first into the chain; if `leaf` is None, the first of the chain is the leaf.
    Raises `Refused`: header_without_certificate, header_malformed, header_hash_mismatch, too_many_certificates.
    """
    if digest is not None and not _is_sha256(digest):
        raise Refused(Reason.HEADER_MALFORMED, "a hash that is not a SHA-256 in lower-case hexadecimal")
    if leaf is None:
        if not chain:
            raise Refused(Reason.HEADER_WITHOUT_CERTIFICATE, "neither a certificate nor a chain")
        leaf = chain[0]
    elif chain and chain[0] != leaf:
        raise Refused(Reason.HEADER_MALFORMED, "the chain does not begin with the certificate beside it")
    intermediates = dict.fromkeys(chain)
    intermediates.pop(leaf, None)
    presented_chain = PresentedChain(leaf, tuple(intermediates))
    if digest is not None and hexlify(presented_chain.sha256) != digest:
        raise Refused(Reason.HEADER_HASH_MISMATCH, "the hash is not the certificate's")
    if len(intermediates) >= rules.max_certificates:
        raise Refused(Reason.TOO_MANY_CERTIFICATES, f"{len(intermediates) + 1}, {rules.max_certificates} are the limit")
    return presented_chain
