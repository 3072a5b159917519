"""The list of what counts, from one process to another."""

from __future__ import annotations

import pytest
from support.crl_world import CA, crl, spki

from authz.crls.acceptance import Held
from authz.crls.share.manifest import Listed
from authz.crls.share.protocol import packed
from authz.crls.source import Source
from authz.model import CrlSourceKind
from authz.pki import Crl
from authz.pki.x509.distinguished_name import Name

NAME = Name(CA.certificate.subject)


def test_list_comes_back_as_it_was() -> None:
    """The CRLs with their signers, the refused sources with what is looked at."""
    held = Held(Crl(crl()), spki(CA))
    sources = [
        Source("http://a/ä", CrlSourceKind.POINT, issuer=NAME, authorities={7: {b"k": b"der"}, 9: {}}),
        Source("/folder/x.crl", CrlSourceKind.FILE, claimed=NAME),
        Source("http://b/", CrlSourceKind.URL),
    ]
    found = Listed.from_bytes(Listed.of([held], sources).to_bytes())
    assert found.signers == {held.crl.sha256: held.signer}
    for one, other in zip(found.refused, sources, strict=True):
        assert looked_at(one) == looked_at(other)


def looked_at(one: Source) -> tuple[object, ...]:
    """What decides whether a source's refusal concerns a certificate."""
    return one.location, one.kind, one.issuer, one.claimed, set(one.authorities)


def test_empty_list_comes_back_empty() -> None:
    """No CRL, and nothing refused."""
    found = Listed.from_bytes(Listed.of([], []).to_bytes())
    assert (found.signers, found.refused) == ({}, ())


def pieces(*each: list[bytes]) -> bytes:
    """Packed twice, as a list is."""
    return b"".join(packed([b"".join(packed(one)) for one in each]))


@pytest.mark.parametrize(
    "data",
    [
        b"\1",
        pieces([b"a"], []),
        pieces([], [b"x"]),
        pieces([], [b"l", b"no kind", b"", b"", b""]),
        pieces([], [b"l", b"url", b"", b"", b"\1"]),
        pieces([]),
    ],
)
def test_anything_else_is_an_error(data: bytes) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=r"cut short|shorter|longer|expected|valid"):
        Listed.from_bytes(data)
