"""CRLs handed over as sealed memory: made once, kept while somebody uses them, and never another's."""

from __future__ import annotations

import gc
import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.big_crl import big_crl, serials
from support.certificates import NOW, Authority

from authz.crls.indexing import shared_images as module
from authz.crls.indexing.sealed_memory import map_sealed, seal
from authz.crls.indexing.shared_images import SharedImages, open_sealed
from authz.errors import IndexingError, Refused
from authz.pki.crl.crl import Crl
from authz.pki.crl.index import RevokedEntry
from authz.pki.x509.distinguished_name import Name
from authz.reasons import Reason

CA, OTHER = Authority.root("CA"), Authority.root("CA")
SERIALS = serials(3_000)
LARGE = big_crl(CA, SERIALS, NOW - timedelta(days=1), NOW + timedelta(days=6))
SMALL = CA.crl()


def keys(authority: Authority = CA) -> list[bytes]:
    """The key that signs."""
    return [authority.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file with a CRL that another process has to index."""
    (tmp_path / "large.crl").write_bytes(LARGE)
    return tmp_path / "large.crl"


async def test_large_crl_is_the_same_on_the_other_side(large: Path) -> None:
    """A process that opens the descriptor finds the same CRL, and what it lists."""
    shelf = SharedImages()
    crl = await shelf.index(large, keys())
    opened = open_sealed(shelf.descriptor(crl))
    assert opened.sha256 == crl.sha256
    issuer = Name(CA.certificate.subject)
    assert isinstance(opened.index.find(SERIALS[0], issuer), RevokedEntry)
    assert opened.index.find(max(SERIALS) + 1, issuer) is None


async def test_small_crl_travels_as_it_is() -> None:
    """Its DER, sealed."""
    shelf = SharedImages()
    crl = Crl(SMALL)
    opened = open_sealed(shelf.descriptor(crl))
    assert (opened.sha256, opened.der) == (crl.sha256, SMALL)


async def test_image_that_is_there_is_not_made_again(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keeper that is started again has the images of the one before."""
    kept: dict[bytes, int] = {}
    first = SharedImages(kept=lambda sha256, image: kept.update({sha256: os.dup(image)}))
    crl = await first.index(large, keys())
    assert list(kept) == [crl.sha256]
    monkeypatch.setattr(module, "make_sealed_image", None)
    assert (await SharedImages(kept).index(large, keys())).sha256 == crl.sha256


async def test_image_of_another_version_is_made_again(large: Path) -> None:
    """After an upgrade a keeper finds what the one before had made."""
    dropped: list[bytes] = []
    sha256 = Crl(LARGE).sha256
    shelf = SharedImages({sha256: seal([b"AUTHZCR0" + bytes(99)])}, dropped=dropped.append)
    crl = await shelf.index(large, keys())
    assert (crl.sha256, dropped) == (sha256, [sha256])
    assert open_sealed(shelf.descriptor(crl)).sha256 == sha256


async def test_image_that_is_there_is_verified_under_the_keys_given(large: Path) -> None:
    """Who signed the file today is asked today."""
    shelf = SharedImages()
    held = await shelf.index(large, keys())
    with pytest.raises(Refused) as refused:
        await shelf.index(large, keys(OTHER))
    assert refused.value.reason is Reason.SIGNATURE_INVALID
    assert open_sealed(shelf.descriptor(held)).sha256 == held.sha256


async def test_file_that_changed_is_indexed_anew(large: Path) -> None:
    """The image belongs to the octets, not to the path."""
    shelf = SharedImages()
    before = await shelf.index(large, keys())
    newer = big_crl(CA, SERIALS[:2_000], NOW, NOW + timedelta(days=6))
    large.write_bytes(newer)
    assert (await shelf.index(large, keys())).sha256 != before.sha256


async def test_image_goes_with_the_last_crl_made_of_it(large: Path) -> None:
    """Its holder is notified, and nothing stays open."""
    dropped: list[bytes] = []
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a number is enough
    shelf = SharedImages(dropped=dropped.append)
    crl, again = await shelf.index(large, keys()), await shelf.index(large, keys())
    sha256 = crl.sha256
    del crl
    gc.collect()
    assert dropped == []
    del again
    gc.collect()
    assert dropped == [sha256]
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 - likewise


async def test_image_that_was_not_asked_for_is_given_back(large: Path) -> None:
    """A CRL that was replaced while there was no keeper."""
    dropped: list[bytes] = []
    image = seal([b"of a CRL that is gone"])
    shelf = SharedImages({b"gone": image}, dropped=dropped.append)
    crl = await shelf.index(large, keys())
    shelf.forget_unused()
    assert dropped == [b"gone"]
    assert open_sealed(shelf.descriptor(crl)).sha256 == crl.sha256


@pytest.mark.parametrize("content", [b"AUTHZCR1nonsense", b"no CRL at all", CA.der])
def test_memory_that_holds_no_crl_is_refused(content: bytes) -> None:
    """What was handed over is looked at, whichever process handed it over."""
    descriptor = seal([content])
    with pytest.raises(IndexingError):
        open_sealed(descriptor)
    os.close(descriptor)


def test_memory_is_sealed_and_read() -> None:
    """As the feed and its followers use it."""
    descriptor = seal([b"a", b"b"])
    assert bytes(map_sealed(descriptor)) == b"ab"
    os.close(descriptor)
