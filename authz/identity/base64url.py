"""Base64url as JOSE writes it, read strictly."""

from __future__ import annotations

import base64
import binascii


def decode_base64url(value: bytes) -> bytes:
    """The bytes of canonical base64url (RFC 4648 section 5), padded or not. Raises `ValueError`."""
    bare = value.rstrip(b"=")
    if len(value) not in {len(bare), len(bare) + -len(bare) % 4} or b"+" in value or b"/" in value:
        raise ValueError("not base64url")
    padded = bare + b"=" * (-len(bare) % 4)
    decoded = binascii.a2b_base64(padded.replace(b"-", b"+").replace(b"_", b"/"), strict_mode=True)
    # With spare bits in the last character a value would have several spellings.
    if base64.urlsafe_b64encode(decoded) != padded:
        raise ValueError("base64url that is not canonical")
    return decoded
