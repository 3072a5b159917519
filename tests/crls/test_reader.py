"""From a file to a CRL: whose it may be is looked at first, and small ones do not wait behind large ones."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest
from support.big_crl import big_crl
from support.certificates import NOW, Authority, tlv
from support.crl_world import CA, ROOT, crl
from support.hostile_crls import MARKS, attribute, extension, signed
from support.other_keys import other_key
from support.tampered import compressed_point, reissued, with_key

from authz.crls import reader as reading
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.indexing.client import index_crl
from authz.crls.reader import LANE_BYTES, Lanes, issuer_in, read_crl
from authz.pki import Certificate, Crl
from authz.pki.crl.bounds import MAX_NAME
from authz.pki.x509.distinguished_name import Name


async def outcome(path: Path, data: bytes, *authorities: Authority) -> str:
    """What becomes of a CRL in a file."""
    path.write_bytes(data)
    try:
        await read_crl(path, [one.der for one in authorities], index_crl)
    except FetchFailed as failure:
        return failure.kind
    return "read"


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 40_000])
@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        pytest.param(None, "read", id="a known CA's"),
        pytest.param(tlv(0x30, attribute("Nobody")), FailureKind.SIGNER_UNKNOWN, id="nobody's"),
        pytest.param(tlv(0x30, attribute(MARKS * MAX_NAME)), FailureKind.MALFORMED, id="too long"),
        pytest.param(b"\x30\x80\x00\x00", FailureKind.MALFORMED, id="indefinite"),
        pytest.param(b"\x30\x84\x7f\xff\xff\xff", FailureKind.MALFORMED, id="longer than the file"),
    ],
)
async def test_crl_is_read_if_a_known_ca_has_its_issuers_name(
    tmp_path: Path, issuer: bytes | None, expected: str, size: int
) -> None:
    """Small or large; what another name says is not read."""
    data = signed(CA, extension(b"\x2a\x03", bytes(size)), issuer=issuer)
    assert await outcome(tmp_path / "crl", data, ROOT, CA) == expected


async def test_name_that_a_known_ca_writes_is_not_prepared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An impostor of the server chose the other names; they are short at least."""
    prepared: list[bytes] = []

    def prepare(start: bytes, size: int) -> Name:
        prepared.append(start)
        raise ValueError(str(size))

    monkeypatch.setattr(reading, "issuer_of", prepare)
    assert await outcome(tmp_path / "crl", signed(CA), ROOT, CA) == "read"
    assert prepared == []
    assert await outcome(tmp_path / "crl", signed(CA, issuer=tlv(0x30, attribute("x"))), CA) == FailureKind.MALFORMED
    assert len(prepared) == 1


async def test_key_of_a_ca_that_writes_its_name_otherwise_signs_as_well(tmp_path: Path) -> None:
    """A CA that changed its key, and the type of its name's string with it, is one CA."""
    older = Authority.root("CA")
    assert await outcome(tmp_path / "crl", signed(CA, issuer=tlv(0x30, printable("ca"))), older, CA) == "read"


def printable(text: str) -> bytes:
    """A common name as a PrintableString."""
    return tlv(0x31, tlv(0x30, tlv(6, b"\x55\x04\x03") + tlv(0x13, text.encode())))


def test_issuer_of_a_refused_crl_is_reported_if_it_is_short(tmp_path: Path) -> None:
    """It says whose the CRL may have been meant to be."""
    path = tmp_path / "crl"
    for text, known in (("x" * 1_900, True), ("x" * MAX_NAME, False)):
        path.write_bytes(signed(CA, issuer=tlv(0x30, attribute(text))))
        assert (issuer_in(path) is not None) is known


async def test_small_crl_does_not_wait_behind_large_ones(tmp_path: Path) -> None:
    """Two processes at a time, of which one is for small ones; each takes them in turn."""
    running: list[str] = []
    most: list[int] = []
    begun, go = asyncio.Event(), asyncio.Event()

    async def index(source: Path | int, keys: Collection[bytes]) -> Crl:
        assert isinstance(source, Path)
        assert keys == ()
        running.append(source.name)
        most.append(len(running))
        if source.name == "small":
            begun.set()
        else:
            await go.wait()
        running.remove(source.name)
        return Crl(big_crl(CA, [], NOW, NOW))

    lanes = Lanes(index)
    paths = [tmp_path / name for name in ("large1", "large2", "large3", "small")]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(LANE_BYTES + (path.name != "small"))
    tasks = [asyncio.create_task(lanes(path, ())) for path in paths]
    await begun.wait()
    assert running[0].startswith("large")
    go.set()
    await asyncio.gather(*tasks)
    assert max(most) <= 2


async def test_key_of_a_crl_is_filed_in_one_form(tmp_path: Path) -> None:
    """In whichever form the CA that is asked first states it: another tenant's may be."""
    path, other = tmp_path / "crl", reissued(CA, ROOT, compressed_point)
    path.write_bytes(signed(CA))
    own = Certificate.parse(CA.der)
    for authorities in ([other.der, CA.der], [CA.der, other.der], [other.der]):
        read, key = await read_crl(path, authorities, index_crl)
        assert (read.signer, key) == (own.spki_sha256, own.spki_der)


async def test_key_that_signed_other_crls_is_the_signer_before_one_computed_from_this(tmp_path: Path) -> None:
    """Whichever certificate comes first."""
    path, data, own = tmp_path / "crl", crl(), Certificate.parse(CA.der)
    path.write_bytes(data)
    signature = Crl(data).signed
    forged = reissued(CA, ROOT, with_key(other_key(signature.signature, signature.tbs, CA.key.public_key())))
    for authorities in ([forged.der, CA.der], [CA.der, forged.der]):
        read, _ = await read_crl(path, authorities, index_crl, {own.plain_spki_sha256})
        assert read.signer == own.plain_spki_sha256
    assert (await read_crl(path, [forged.der], index_crl, {own.plain_spki_sha256}))[0].signer != own.plain_spki_sha256
