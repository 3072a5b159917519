"""Base64url, in its canonical spelling only."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.identity.base64url import decode_base64url


@given(st.binary(max_size=64))
def test_canonical_base64url_is_decoded_padded_or_not(data: bytes) -> None:
    """RFC 4648 section 5; JOSE leaves the padding out."""
    padded = base64.urlsafe_b64encode(data)
    assert decode_base64url(padded) == decode_base64url(padded.rstrip(b"=")) == data


@pytest.mark.parametrize("value", [b"e30==", b"e30===", b"e31", b"e", b"+/+/", b"e3 0", b"e30=e30=", b"=", b"\xff\xff"])
def test_other_spelling_is_an_error(value: bytes) -> None:
    """Other padding, spare bits, the other alphabet, anything in between."""
    with pytest.raises(ValueError, match=r"."):
        decode_base64url(value)
