"""Files and folders of CRLs: what is there, and a copy of it in DER."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.certificates import Authority

from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.folder import copy, scan

CRL = Authority.root("CA").crl()
PEM = x509.load_der_x509_crl(CRL).public_bytes(Encoding.PEM)


def test_folder_is_its_files_and_a_file_is_itself(tmp_path: Path) -> None:
    """Without what begins with a dot, and without folders in it."""
    for name in ("b.crl", "a.pem", ".hidden"):
        (tmp_path / name).write_bytes(CRL)
    (tmp_path / "below").mkdir()
    assert list(scan([tmp_path])) == [tmp_path / "a.pem", tmp_path / "b.crl"]
    assert list(scan([tmp_path / "b.crl"])) == [tmp_path / "b.crl"]


def test_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """In place, or by another that takes its name, as mounted volumes swap theirs."""
    file, other = tmp_path / "a.crl", tmp_path / "new"
    file.write_bytes(CRL)
    first = scan([file])[file]
    file.write_bytes(PEM)
    second = scan([file])[file]
    other.write_bytes(PEM)
    other.replace(file)
    assert len({first, second, scan([file])[file]}) == 3


@pytest.mark.parametrize("what", ["missing", "dangling link"])
def test_name_without_a_file_has_no_stamp(tmp_path: Path, what: str) -> None:
    """It may come yet."""
    if what == "dangling link":
        (tmp_path / what).symlink_to(tmp_path / "nowhere")
    assert scan([tmp_path / what]) == {tmp_path / what: None}


@pytest.mark.parametrize("body", [CRL, PEM])
def test_copy_is_der(tmp_path: Path, body: bytes) -> None:
    """Whatever the file is in, which stays as it is."""
    (tmp_path / "a").write_bytes(body)
    made = copy(tmp_path / "a", tmp_path, 1 << 20)
    assert made.read_bytes() == CRL
    assert (tmp_path / "a").read_bytes() == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b"", FailureKind.EMPTY), (b"<html>", FailureKind.NOT_A_CRL), (b"\x30" * 2_000, FailureKind.TOO_LARGE)],
)
def test_file_that_is_no_crl_leaves_no_copy(tmp_path: Path, body: bytes, expected: FailureKind) -> None:
    """Nor one that is too large."""
    (tmp_path / "a").write_bytes(body)
    with pytest.raises(FetchFailed) as caught:
        copy(tmp_path / "a", tmp_path, 1_000)
    assert caught.value.kind is expected
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("kind", ["missing", "pipe", "folder"])
def test_what_is_no_file_is_told(tmp_path: Path, kind: str) -> None:
    """And nobody waits for a pipe's writer."""
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(FetchFailed) as caught:
        copy(path, tmp_path, 1_000)
    assert caught.value.kind is FailureKind.FILE


def test_folder_without_room_is_storage(tmp_path: Path) -> None:
    """Ours, and not the operator's."""
    (tmp_path / "a").write_bytes(CRL)
    with pytest.raises(FetchFailed) as caught:
        copy(tmp_path / "a", tmp_path / "gone", 1 << 20)
    assert caught.value.kind is FailureKind.STORAGE
