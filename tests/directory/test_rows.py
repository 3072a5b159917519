"""What stands in a row comes back as it was, or is an error."""

from __future__ import annotations

import pytest
from support.certificates import Authority

from authz.directory.rows import readable, split_chain

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


def test_certificate_that_cannot_be_read_becomes_none() -> None:
    """Its DER as well as its subject, which is read where it is asked for."""
    found = readable(ROOT.der)
    assert found is not None
    assert found.der == ROOT.der
    for stored in (None, b"\x30\x00", ROOT.leaf("x").der.replace(b"\x0c\x01x", b"\x0c\x01\xff")):
        assert readable(stored) is None
