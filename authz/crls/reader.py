"""From a file to a CRL that one of the given CAs signed: a small one in a thread, a large one in its own process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable
from pathlib import Path
from typing import Final

from authz.crls.acceptance import Held
from authz.crls.failures import FailureKind, FetchFailed
from authz.errors import IndexingError, Refused
from authz.pki import Certificate, Crl, signer_of
from authz.pki.crl.header import issuer_of, written_issuer
from authz.pki.revocation.crl_signers import may_sign_crls
from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name
from authz.reasons import Reason

SMALL_OCTETS: Final = 32 * 1024
"""A CRL up to this length is read at once: 2 ms, and 9 ms for the worst that can be made; the bound is 20 ms."""

MAX_START: Final = 64 * 1024
"""Octets in which the issuer's name must end."""

Index = Callable[[Path | int, Collection[bytes]], Awaitable[Crl]]
"""Makes a CRL of a DER file, given the SubjectPublicKeyInfos (DER) of which one must have signed it.

Raises `Refused` (crl_malformed, signature_invalid, algorithm_not_allowed), `IndexingError`, `OSError`.
"""

LANE_OCTETS: Final = 4 * 1024 * 1024
"""CRLs up to this length are indexed beside larger ones: 100,000 entries, which take a second."""


class Lanes:
    """An `Index` that runs three processes at a time at most: two for CRLs up to `LANE_OCTETS`, one for larger ones.

    However many large CRLs a tenant's CA publishes, those of others that are small do not wait behind them.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._small, self._large = asyncio.Semaphore(2), asyncio.Semaphore(1)

    async def __call__(self, source: Path | int, keys: Collection[bytes]) -> Crl:
        """Raises what the index raises."""
        size = (await asyncio.to_thread(os.stat, source)).st_size
        async with self._small if size <= LANE_OCTETS else self._large:
            return await self._index(source, keys)


_REFUSALS: Final = {
    Reason.CRL_MALFORMED: FailureKind.MALFORMED,
    Reason.SIGNATURE_INVALID: FailureKind.SIGNER_UNKNOWN,
    Reason.REVOCATION_UNKNOWN: FailureKind.SIGNER_UNKNOWN,
    Reason.ALGORITHM_NOT_ALLOWED: FailureKind.ALGORITHM,
}


async def read_crl(path: Path, authorities: Collection[bytes], index: Index) -> tuple[Held, bytes]:
    """The CRL in the DER file `path`, and the key that signed it (SubjectPublicKeyInfo, DER).

    `authorities` are certificates in DER: one of them has the name of the CRL's issuer, may sign CRLs, and did
    sign this one. Raises `FetchFailed` (malformed, signer_unknown, algorithm, indexing, storage).
    """
    try:
        size = (await asyncio.to_thread(path.stat)).st_size
        mine = await asyncio.to_thread(_called_as_its_issuer, path, size, authorities)
        if size <= SMALL_OCTETS:
            return await asyncio.to_thread(_read_small, path, mine)
        crl = await index(path, [one.spki_der for one in mine])
        return await asyncio.to_thread(_signed, crl, mine)
    except Refused as refusal:
        kind = _REFUSALS.get(refusal.reason, FailureKind.MALFORMED)
        raise FetchFailed(kind, refusal.detail or refusal.reason.sentence) from refusal
    except IndexingError as error:
        raise FetchFailed(FailureKind.INDEXING, str(error)) from error
    except OSError as error:
        raise FetchFailed(FailureKind.STORAGE, error.strerror or str(error)) from error


def issuer_in(path: Path) -> Name | None:
    """The issuer that the CRL in the DER file `path` names, whoever signed it; None if that cannot be read."""
    try:
        with path.open("rb") as file:
            return issuer_of(file.read(MAX_START), os.fstat(file.fileno()).st_size)
    except (OSError, ValueError):
        return None


async def index_octets(data: bytes, key: bytes, index: Index) -> Crl:
    """The CRL that `data` is, in DER, signed by `key` (SubjectPublicKeyInfo, DER). Raises what `index` raises."""
    descriptor = os.memfd_create("authz-crl-der", os.MFD_CLOEXEC)
    try:
        await asyncio.to_thread(os.write, descriptor, data)
        return await index(descriptor, [key])
    finally:
        os.close(descriptor)


def _read_small(path: Path, mine: Iterable[Certificate]) -> tuple[Held, bytes]:
    return _signed(Crl(path.read_bytes()), mine)


def _called_as_its_issuer(path: Path, size: int, authorities: Iterable[bytes]) -> list[Certificate]:
    """Those that may have signed a CRL, without reading more of it than its issuer's name."""
    with path.open("rb") as file:
        start = file.read(MAX_START)
    known = _readable(authorities)
    try:
        name = _issuer_among(start, size, known)
    except ValueError as error:
        raise Refused(Reason.CRL_MALFORMED, str(error)) from error
    mine = [one for one in known if one.subject == name and may_sign_crls(one)]
    if not mine:
        raise Refused(Reason.REVOCATION_UNKNOWN, f"no known CA is called {name.text}")
    return mine


def _issuer_among(start: bytes, size: int, known: Iterable[Certificate]) -> Name:
    """The issuer's name; one that a known CA writes octet for octet is not prepared for comparison again."""
    written = written_issuer(start, size)
    alike = (one.subject for one in known if der.tlv(der.SEQUENCE, *one.subject.rdns) == written)
    return next(alike, None) or issuer_of(start, size)


def _signed(crl: Crl, authorities: Iterable[Certificate]) -> tuple[Held, bytes]:
    signer = signer_of(crl, authorities)
    return Held(crl, signer.spki_sha256), signer.spki_der


def _readable(authorities: Iterable[bytes]) -> list[Certificate]:
    """A certificate that cannot be read signed nothing."""
    found = []
    for data in authorities:
        try:
            one = Certificate.parse(data)
            if one.subject and one.spki_der and one.extensions:
                found.append(one)
        except Refused:
            continue
    return found
