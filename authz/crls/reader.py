"""From a file to a CRL that one of the given CAs signed: a small one in a thread, a large one in its own process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final

from authz.crls.acceptance import SignedCrl
from authz.crls.failures import FailureKind, FetchFailed
from authz.crls.indexing.client import SMALL_CRL, read_small
from authz.errors import IndexingError, Refused
from authz.pki import Certificate, Crl, signer_of
from authz.pki.crl.header import issuer_of, written_issuer
from authz.pki.revocation.crl_signers import may_sign_crls
from authz.pki.x509 import der
from authz.pki.x509.distinguished_name import Name
from authz.reasons import Reason

MAX_START: Final = 64 * 1024
"""Bytes in which the issuer's name must end."""

Index = Callable[[Path | int, Collection[bytes]], Awaitable[Crl]]
"""Makes a CRL of a DER file, given the SubjectPublicKeyInfos (DER) of which one must have signed it.

Raises `Refused` (crl_malformed, signature_invalid, algorithm_not_allowed), `IndexingError`, `OSError`.
"""

LANE_BYTES: Final = 4 * 1024 * 1024
"""CRLs up to this length are indexed beside larger ones: 100,000 entries, which take a second."""


class Lanes:
    """An `Index` that runs three processes at a time at most: two for CRLs up to `LANE_BYTES`, one for larger ones.

    However many large CRLs a tenant's CA publishes, those of others that are small do not wait behind them.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._small, self._large = asyncio.Semaphore(2), asyncio.Semaphore(1)

    async def __call__(self, source: Path | int, keys: Collection[bytes]) -> Crl:
        """Raises what the index raises."""
        size = (await asyncio.to_thread(os.stat, source)).st_size
        async with self._small if size <= LANE_BYTES else self._large:
            return await self._index(source, keys)


_REFUSALS: Final = {
    Reason.CRL_MALFORMED: FailureKind.MALFORMED,
    Reason.SIGNATURE_INVALID: FailureKind.SIGNER_UNKNOWN,
    Reason.REVOCATION_UNKNOWN: FailureKind.SIGNER_UNKNOWN,
    Reason.KEY_USAGE_NOT_ALLOWED: FailureKind.SIGNER_UNKNOWN,
    Reason.ALGORITHM_NOT_ALLOWED: FailureKind.ALGORITHM,
}


async def read_crl(
    path: Path, authorities: Collection[bytes], index: Index, signers: Collection[bytes] = ()
) -> tuple[SignedCrl, bytes]:
    """The CRL in the DER file `path`, and the key that signed it (SubjectPublicKeyInfo, DER).

    `authorities` are certificates in DER: one of them has the name of the CRL's issuer, may sign CRLs, and did
    sign this one. `signers` are as in `signer_of`.
    Raises `FetchFailed` (malformed, signer_unknown, algorithm, indexing, storage).
    """
    try:
        size = (await asyncio.to_thread(path.stat)).st_size
        candidates = await asyncio.to_thread(_called_as_its_issuer, path, size, authorities)
        if size <= SMALL_CRL:
            crl = await asyncio.to_thread(read_small, path)
        else:
            crl = await index(path, [certificate.spki_der for certificate in candidates])
        return await asyncio.to_thread(_signed, crl, candidates, signers)
    except Refused as refusal:
        kind = _REFUSALS.get(refusal.reason, FailureKind.MALFORMED)
        raise FetchFailed(kind, refusal.detail or refusal.reason.sentence) from refusal
    except IndexingError as error:
        raise FetchFailed(FailureKind.INDEXING, str(error)) from error
    except OSError as error:
        raise FetchFailed(FailureKind.STORAGE, error.strerror or str(error)) from error


def issuer_in(path: Path) -> Name | None:
    """The issuer that the CRL in the DER file `path` names, whatever key signed it; None if that cannot be read."""
    try:
        with path.open("rb") as file:
            return issuer_of(file.read(MAX_START), os.fstat(file.fileno()).st_size)
    except (OSError, ValueError):
        return None


async def index_bytes(data: bytes, key: bytes, index: Index) -> Crl:
    """The CRL that `data` is, in DER, signed by `key` (SubjectPublicKeyInfo, DER). Raises what `index` raises."""
    descriptor = os.memfd_create("authz-crl-der", os.MFD_CLOEXEC)
    try:
        await asyncio.to_thread(os.write, descriptor, data)
        return await index(descriptor, [key])
    finally:
        os.close(descriptor)


def _called_as_its_issuer(path: Path, size: int, authorities: Iterable[bytes]) -> list[Certificate]:
    """Those that may have signed a CRL, without reading more of it than its issuer's name."""
    with path.open("rb") as file:
        start = file.read(MAX_START)
    known = _readable(authorities)
    try:
        name = _issuer_among(start, size, known)
    except ValueError as error:
        raise Refused(Reason.CRL_MALFORMED, str(error)) from error
    named = [certificate for certificate in known if certificate.subject == name]
    if not named:
        raise Refused(Reason.REVOCATION_UNKNOWN, f"no known CA is called {name.text}")
    return [certificate for certificate in named if may_sign_crls(certificate)] or named


def _issuer_among(start: bytes, size: int, known: Iterable[Certificate]) -> Name:
    """The issuer's name; one that a known CA writes byte for byte is not prepared for comparison again."""
    written = written_issuer(start, size)
    alike = (
        certificate.subject for certificate in known if der.tlv(der.SEQUENCE, *certificate.subject.rdns) == written
    )
    return next(alike, None) or issuer_of(start, size)


def _signed(crl: Crl, authorities: Sequence[Certificate], signers: Collection[bytes]) -> tuple[SignedCrl, bytes]:
    signer = signer_of(crl, authorities, signers)
    return SignedCrl(crl, signer.plain_spki_sha256), signer.plain_spki


def _readable(authorities: Iterable[bytes]) -> list[Certificate]:
    """A certificate that cannot be read signed nothing."""
    certificates = []
    for data in authorities:
        try:
            certificate = Certificate.parse(data)
            if certificate.subject and certificate.spki_der and certificate.extensions:
                certificates.append(certificate)
        except Refused:
            continue
    return certificates
