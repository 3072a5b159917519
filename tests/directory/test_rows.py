"""What stands in a row comes back as it was, or is an error."""

from __future__ import annotations

import pytest
from support.certificates import Authority

from authz.directory.rows import certificate, split_chain
from authz.errors import StoreError

ROOT = Authority.root()


def test_chain_is_split_where_each_certificate_ends() -> None:
    """None, one, several."""
    other = Authority.root("Other")
    for ders in ((), (ROOT.der,), (ROOT.der, other.der, ROOT.der)):
        assert split_chain(b"".join(ders)) == ders


@pytest.mark.parametrize("data", [b"\x30", ROOT.der[:-1], ROOT.der + b"\x30\x82"])
def test_chain_that_is_cut_makes_no_sense(data: bytes) -> None:
    """At its end, or within a certificate."""
    with pytest.raises(ValueError):  # noqa: PT011 - whatever is wrong with the DER
        split_chain(data)


def test_certificate_that_cannot_be_read_is_an_error_of_the_store() -> None:
    """With what to do about it."""
    assert certificate(ROOT.der).der == ROOT.der
    with pytest.raises(StoreError) as caught:
        certificate(b"\x30\x00")
    assert caught.value.hint
