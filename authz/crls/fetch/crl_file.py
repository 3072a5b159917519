"""What a file must be to be taken for a CRL: one DER sequence that fills it, or one CRL in PEM, made DER in place.

No more of it than a piece is held in memory. That it is a CRL in truth, and whose, is the parser's to say.
"""

from __future__ import annotations

import binascii
import hashlib
import os
from pathlib import Path
from typing import BinaryIO, Final

from authz.pki.x509 import der

PIECE: Final = 256 * 1024

# RFC 7468 sections 3 and 7. No text before or after: what explains a CRL to a reader may explain another one.
_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_END: Final = b"-----END X509 CRL-----"
_SPACE: Final = b" \t\r\n"

MAX_MARGIN: Final = 1_024
"""Bytes before and after the base64 text of a PEM file, white space included."""


class NotACrl(ValueError):
    """The file cannot be a CRL; the message says why."""


def into_der(path: Path) -> tuple[int, bytes]:
    """Size in bytes and SHA-256 (32 bytes) of the file, which holds DER afterwards.

    Raises `NotACrl`, and `OSError`. It blocks: call it from a thread.
    """
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(MAX_MARGIN).lstrip(_SPACE).startswith(b"-----BEGIN"):
            size = _decode_in_place(file, size)
        file.seek(0)
        _check_outline(file.read(8), size)
        file.seek(0)
        return size, hashlib.file_digest(file, "sha256").digest()


def _check_outline(head: bytes, size: int) -> None:
    """CertificateList is a SEQUENCE (RFC 5280 section 5.1), and nothing follows it."""
    try:
        tag, _, end = der.element(head, 0, size)
    except ValueError as error:
        raise NotACrl(f"no CRL in DER or PEM: {error}") from None
    if tag != der.SEQUENCE or end != size:
        raise NotACrl("no CRL in DER or PEM: not one sequence that fills it")


def _decode_in_place(file: BinaryIO, size: int) -> int:
    """Write the bytes over the text that stands for them, which is always longer; how many they are."""
    read, stop = _margins(file, size)
    written, left, ended = 0, b"", False
    while read < stop:
        file.seek(read)
        text = file.read(min(PIECE, stop - read))
        read += len(text)
        text = left + text.translate(None, _SPACE)
        if ended and text:
            raise NotACrl("PEM: text after the padding")
        cut = len(text) if read == stop else len(text) // 4 * 4
        text, left = text[:cut], text[cut:]
        ended = text.endswith(b"=")
        file.seek(written)
        written += file.write(_decoded(text))
    file.truncate(written)
    return written


def _margins(file: BinaryIO, size: int) -> tuple[int, int]:
    """Where the base64 text begins and ends."""
    file.seek(0)
    head = file.read(MAX_MARGIN)
    start = len(head) - len(head.lstrip(_SPACE)) + len(_BEGIN)
    file.seek(max(start, size - MAX_MARGIN))
    tail = file.read().rstrip(_SPACE)
    if not head[:start].endswith(_BEGIN) or not tail.endswith(_END):
        raise NotACrl("PEM: not one CRL from its first line to its last")
    return start, max(start, size - MAX_MARGIN) + len(tail) - len(_END)


def _decoded(text: bytes) -> bytes:
    if b"-" in text:
        raise NotACrl("PEM: more than one block; each CRL needs a file or URL of its own")
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise NotACrl(f"PEM: {error}") from None
