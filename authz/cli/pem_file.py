"""Reads the files an operator gives, or standard input, for `authz.admin.pem`."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from authz.errors import ConfigError

if TYPE_CHECKING:
    from authz.pki import Certificate, Crl

MAX_UPLOAD: Final = 1024 * 1024
"""Bytes of a certificate file: the model's own limit."""

MAX_CRL: Final = 256 * 1024 * 1024
"""Bytes of a CRL file: six times the 42 MB of one with a million entries."""

_URL: Final = re.compile(r"(https?):/+(.+)", re.IGNORECASE)
"""A URL as a `Path` leaves it, which folds slashes."""

STDIN: Final = Path("-")
"""Stands for standard input."""

_RIGHT_FILE: Final = "is it the right file? certificates and CRLs are read, in PEM or DER"


def name_of(path: Path) -> str:
    """What errors call it."""
    return "standard input" if path == STDIN else str(path)


def read_certificates(path: Path) -> list[Certificate]:
    """The certificates in a PEM file, in its order, or the one in a DER file. Raises `ConfigError`."""
    certificates: list[Certificate] = _pem().certificates_in(_read(path, MAX_UPLOAD), name_of(path))
    return certificates


def read_crl(path: Path) -> Crl:
    """The CRL in a PEM or DER file. Raises `ConfigError`."""
    crl: Crl = _pem().crl_in(_read(path, MAX_CRL), name_of(path))
    return crl


def _pem() -> Any:
    """The reader of what stands in them: what reads no file does without the library."""
    return import_module("authz.admin.pem")


def _read(path: Path, limit: int) -> bytes:
    """At most `limit` bytes of a file, or of standard input for "-". Raises `ConfigError`."""
    url = _URL.fullmatch(str(path))
    if url is not None and not path.exists():
        address = f"{url[1]}://{url[2]}"
        quoted = shlex.quote(address)
        raise ConfigError(
            f"{address} is a URL, and certificates and CRLs are read from files",
            hint=f"fetch it, ask its publisher whether it is the right one, then give FILE: curl -o FILE {quoted}",
        )
    try:
        with open(0 if path == STDIN else path, "rb", closefd=path != STDIN) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error
    name = name_of(path)
    if len(data) > limit:
        raise ConfigError(f"{name} is larger than {limit} bytes", hint=_RIGHT_FILE)
    if not data:
        raise ConfigError(f"{name} is empty", hint=_RIGHT_FILE)
    return data
