"""Reads the files an operator gives: certificates and CRLs, in PEM or DER, and nothing else in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key

from authz.errors import ConfigError, Refused
from authz.pki import Certificate, Crl
from authz.pki.x509.library import pem_blocks

MAX_UPLOAD: Final = 1024 * 1024
"""Bytes of a certificate file: the model's own limit."""

MAX_CRL: Final = 256 * 1024 * 1024
"""Bytes of a CRL file: six times the 42 MB of one with a million entries."""

_LABEL: Final = re.compile(rb"-----BEGIN ([^\r\n-]{1,64})-----")
_BEFORE: Final = re.compile(rb"(?:^|--)[^\w\n]{0,64}\Z", re.MULTILINE)
"""What stands before the word that was meant to begin a PEM block, however it is spelled."""

_SECRET: Final = re.compile(
    rb"BEGIN[^\n]{0,64}PRIVATE|^[^\w\n]{0,64}(?:PUTTY-USER-KEY-FILE|(?:RSA )?PRIVATE-(?:KEY|LINES))\b", re.MULTILINE
)
"""A private key in text: PEM under whatever label (OpenSSH, SSH2), PuTTY's, what `openssl pkey -text` writes."""

_KEY_STORE: Final = re.compile(rb"\xfe\xed\xfe\xed|\xce\xce\xce\xce|\x30.{1,5}\x02\x01\x03", re.DOTALL)
"""How JKS, JCEKS and PKCS#12 (RFC 7292 section 4: a SEQUENCE that begins with version 3) begin."""

_SEQUENCE: Final = b"\x30"
"""With what DER begins."""

_RIGHT_FILE: Final = "is it the right file? certificates and CRLs are read, in PEM or DER"


def read_certificates(path: Path) -> list[Certificate]:
    """The certificates in a PEM file, in its order, or the one in a DER file.

    Raises `ConfigError`, also when anything that is no certificate is in it, above all a private key.
    """
    data = _read(path, MAX_UPLOAD)
    return _certificates(path, data, blocks=_blocks(path, data, b"CERTIFICATE"))


def _blocks(path: Path, data: bytes, wanted: bytes) -> int:
    """How many PEM blocks are in `data`, all of the label `wanted`. Raises `ConfigError` for any other."""
    # As editors and terminals of every kind write it: UTF-16, lines that end with a carriage return.
    text = data.replace(b"\0", b"").replace(b"\r", b"\n").upper()
    # A CRL may have megabytes: the words are looked for before what is around them.
    secret = (b"PRIVATE" in text or b"PUTTY-USER" in text) and _SECRET.search(text)
    if secret or _KEY_STORE.match(data) or _is_private_key(data):
        raise ConfigError(
            f"{path} holds a private key",
            hint="give what is public alone; a key that was passed around should be replaced",
        )
    labels = _LABEL.findall(data)
    hint = f"give {wanted.decode('ascii')} blocks and nothing else"
    for label in labels:
        if label != wanted:
            raise ConfigError(f"{path} holds a {label.decode('latin-1')}", hint=hint)
    # Nothing of it is quoted: what an odd label hides may be a secret.
    if data[:1] != _SEQUENCE and _marks(text) != len(labels):
        raise ConfigError(f"{path} holds a block that does not begin as PEM does", hint=hint)
    return len(labels)


def _marks(text: bytes) -> int:
    """How many lines or dashes in `text`, in capitals, were meant to begin a PEM block."""
    starts = (match.start() for match in re.finditer(rb"BEGIN", text))
    return sum(_BEFORE.search(text, max(0, at - 80), at) is not None for at in starts)


def _is_private_key(data: bytes) -> bool:
    """Whether it is one in DER, encrypted or not (RFC 5958, RFC 8017, RFC 5915)."""
    try:
        load_der_private_key(data, None)
    except TypeError:  # it wants a password
        return True
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def _certificates(path: Path, data: bytes, *, blocks: int) -> list[Certificate]:
    try:
        if not blocks:
            return [Certificate.parse(data)]
        ders = pem_blocks(data, b"CERTIFICATE")
        if len(ders) != blocks:
            raise ValueError("a certificate is cut short")  # noqa: TRY301 - reported like all that the parser finds
        certificates = list(map(Certificate.parse, ders))
    except (ValueError, Refused) as error:
        detail = error.detail if isinstance(error, Refused) else str(error)
        raise ConfigError(f"{path} cannot be read: {detail}", hint="give certificates in PEM or DER") from error
    return list(dict.fromkeys(certificates))


def read_crl(path: Path) -> Crl:
    """The CRL in a PEM or DER file. Raises `ConfigError`."""
    data = _read(path, MAX_CRL)
    try:
        # A CRL in DER may have megabytes to search, and chance could write a label into it.
        if data[:1] != _SEQUENCE:
            if _blocks(path, data, b"X509 CRL") != 1:
                raise ValueError("not one CRL")  # noqa: TRY301 - reported like all that the parser finds
            (data,) = pem_blocks(data, b"X509 CRL")
        return Crl(data)
    except (ValueError, Refused) as error:
        detail = error.detail if isinstance(error, Refused) else str(error)
        raise ConfigError(f"{path} is not a CRL: {detail}", hint="fetch it again from its CA, in DER or PEM") from error


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    if len(data) > limit:
        raise ConfigError(f"{path} is larger than {limit} octets", hint=_RIGHT_FILE)
    if not data:
        raise ConfigError(f"{path} is empty", hint=_RIGHT_FILE)
    return data
