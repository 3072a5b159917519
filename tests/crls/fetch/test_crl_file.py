"""Files that are a CRL by their outline, and those that are not; PEM made DER in place."""

from __future__ import annotations

import base64
import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import Authority, tlv
from support.crl_server import CRL

from authz.crls.fetch.crl_file import MAX_MARGIN, PIECE, NotACrl, into_der

BEGIN, END = "-----BEGIN X509 CRL-----", "-----END X509 CRL-----"


def pem(data: bytes, *, width: int = 64, newline: str = "\n") -> str:
    """The octets as a CRL in PEM."""
    text = base64.b64encode(data).decode()
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    return newline.join([BEGIN, *lines, END, ""])


def made(folder: Path, data: bytes | str) -> bytes:
    """What the file holds afterwards; what is reported of it is checked."""
    path = folder / "body"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    size, sha256 = into_der(path)
    held = path.read_bytes()
    assert (size, sha256) == (len(held), hashlib.sha256(held).digest())
    return held


def test_der_stays_as_it_is(tmp_path: Path) -> None:
    """Short and long lengths."""
    for data in (CRL, b"\x30\x00", tlv(0x30, b"x" * 127), tlv(0x30, b"x" * 300), tlv(0x30, b"x" * 70_000)):
        assert made(tmp_path, data) == data


@pytest.mark.parametrize(
    "text",
    [
        pem(CRL),
        pem(CRL, newline="\r\n"),
        pem(CRL, width=76),
        pem(CRL, width=10**9),
        pem(CRL, width=1),
        pem(CRL).removesuffix("\n"),
        "\r\n \t" + pem(CRL) + " \r\n\n",
        pem(CRL).replace("\n", " \n\t"),
    ],
)
def test_pem_becomes_der(tmp_path: Path, text: str) -> None:
    """However its lines are cut and ended."""
    assert made(tmp_path, text) == CRL


def test_large_pem_becomes_der(tmp_path: Path) -> None:
    """Across many pieces, whose borders fall anywhere in a line."""
    data = tlv(0x30, random.Random(1).randbytes(3 * PIECE + 1))
    assert made(tmp_path, pem(data)) == data
    assert made(tmp_path, pem(data, width=61)) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        b"\x30\x01",
        CRL[:-1],
        CRL + b"\x00",
        CRL + CRL,
        b"\x31" + CRL[1:],
        b"\x30\x80" + CRL[4:] + b"\x00\x00",
        b"\x30\x85\x00\x00\x00\x00\x01\x00",
        b"\x30\x81\x01\x00",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"\x1f\x8b\x08\x00" + CRL,
        b"\xef\xbb\xbf" + CRL,
        b"\n" + CRL,
        b"0" * 100,
    ],
)
def test_octets_that_are_not_one_sequence_are_no_crl(tmp_path: Path, data: bytes) -> None:
    """Cut short, with something after it, of indefinite length, another thing altogether."""
    with pytest.raises(NotACrl):
        made(tmp_path, data)


@pytest.mark.parametrize(
    "text",
    [
        BEGIN,
        END,
        "-----BEGIN",
        BEGIN + END,
        BEGIN[:-5] + END,
        f"{BEGIN}\n{END}\n",
        pem(CRL)[:-5],
        pem(CRL).replace(END, ""),
        pem(CRL).replace("X509 CRL", "CERTIFICATE"),
        pem(CRL).replace(END, "-----END CERTIFICATE-----"),
        Authority.root().pem,
        pem(CRL) + pem(CRL),
        "issuer: somebody\n" + pem(CRL),
        pem(CRL) + "and so on",
        pem(CRL).replace("M", "M!", 1),
        pem(CRL).replace("M", "M-", 1),
        pem(b"\x30\x02\x05\x00").replace("==", "="),
        pem(b"\x30\x02\x05\x00").replace("==", "==\nMAA="),
        pem(b"\x30\x02\x05\x00").replace("==", ""),
        pem(CRL[:-1]),
        pem(b"<html>"),
        " " * (MAX_MARGIN + 1) + pem(CRL),
        pem(CRL) + "\n" * (MAX_MARGIN + 1),
    ],
)
def test_text_that_is_not_one_crl_is_no_crl(tmp_path: Path, text: str) -> None:
    """Of another kind, two of them, with words around it, with signs that are no base64, padded wrongly."""
    with pytest.raises(NotACrl):
        made(tmp_path, text)


def test_padding_at_the_border_of_a_piece_must_be_the_end(tmp_path: Path) -> None:
    """Each piece is sound by itself; together they are two texts."""
    first = tlv(0x30, b"x" * (PIECE // 4 * 3 - 6))
    assert len(base64.b64encode(first)) == PIECE
    assert base64.b64encode(first).endswith(b"=")
    text = BEGIN + base64.b64encode(first).decode() + "MAA=" + END
    with pytest.raises(NotACrl, match="after the padding"):
        made(tmp_path, text)


@pytest.mark.parametrize("first", [CRL, CRL + b"x", tlv(0x30, bytes(PIECE))])
def test_bundle_is_called_one(tmp_path: Path, first: bytes) -> None:
    """As nginx and HAProxy take it, whatever the padding of its first CRL."""
    with pytest.raises(NotACrl, match="of its own"):
        made(tmp_path, pem(first) + pem(CRL))


@given(data=st.binary(max_size=300), width=st.integers(1, 80), space=st.sampled_from(["\n", "\r\n", " \n"]))
def test_every_sequence_survives_pem(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, width: int, space: str
) -> None:
    """What goes in comes out."""
    folder = tmp_path_factory.mktemp("pem")
    assert made(folder, pem(tlv(0x30, data), width=width, newline=space)) == tlv(0x30, data)


@given(data=st.binary(max_size=200) | st.binary(max_size=100).map(lambda one: BEGIN.encode() + one + END.encode()))
def test_any_octets_are_a_sequence_or_no_crl(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Never any other error."""
    folder = tmp_path_factory.mktemp("any")
    try:
        held = made(folder, data)
    except NotACrl:
        return
    assert held[0] == 0x30


def test_file_that_is_gone_is_an_error_of_the_system(tmp_path: Path) -> None:
    """Not one of the file's content."""
    with pytest.raises(FileNotFoundError):
        into_der(tmp_path / "none")
