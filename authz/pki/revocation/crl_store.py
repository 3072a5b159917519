"""The CRLs of a validation, by issuer name, signing key and scope. Immutable: another CRL needs another store.

The key is proven by the signature alone. Where the key said to have signed a CRL is known, a look-up passes over the
CRLs of other keys, so that CAs of two tenants with the same name do not even cost each other time.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final

from authz.pki.cache.shared import SharedCache

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from authz.pki.crl.crl import Crl
    from authz.pki.x509.distinguished_name import Name

MAX_REMEMBERED: Final = 16 * 1024 * 1024
"""Bytes remembered with one store, for all tenants: some 1,500 with a kind or two of certificates each."""


class CrlsByIssuer:
    """The CRLs of one issuer name, by key and by the names of their distribution point."""

    __slots__ = ("_by_key", "_named", "_nameless", "_size")

    def __init__(self) -> None:
        self._size = 0
        self._by_key: dict[bytes | None, list[Crl]] = {}
        self._nameless: dict[bytes | None, tuple[Crl, ...]] = {}
        self._named: dict[tuple[object, bytes | None], tuple[Crl, ...]] = {}

    def add(self, crl: Crl, signer_spki_sha256: bytes | None) -> None:
        """Add a CRL while the store is made; `signer_spki_sha256` None: any key may have signed it."""
        self._size += 1
        self._by_key.setdefault(signer_spki_sha256, []).append(crl)
        if not crl.names:
            self._nameless[signer_spki_sha256] = (*self._nameless.get(signer_spki_sha256, ()), crl)
        for name in crl.names:
            key = (name, signer_spki_sha256)
            self._named[key] = (*self._named.get(key, ()), crl)

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Crl]:
        return (crl for crls in self._by_key.values() for crl in crls)

    def signed_by(self, keys: Iterable[bytes]) -> list[Crl]:
        """The CRLs that one of these keys may have signed, whatever they are for."""
        return [crl for key in {None, *keys} for crl in self._by_key.get(key, ())]

    def all(self, names: Iterable[object]) -> set[Crl]:
        """The CRLs of any key for a distribution point that has one of `names`."""
        wanted = set(names)
        named = (crls for (name, _), crls in self._named.items() if name in wanted)
        return {crl for crls in (*self._nameless.values(), *named) for crl in crls}

    def find(self, names: Iterable[object], *keys: bytes) -> tuple[Crl, ...]:
        """The CRLs that one of the keys may have signed, for a distribution point that has one of `names`.

        Those without a name of their own are for every point (RFC 5280 section 6.3.3 (b) (2) (i)).
        """
        signers = *keys, None
        nameless = [crl for signer in signers for crl in self._nameless.get(signer, ())]
        places = product(names, signers) if self._named else ()
        return tuple(dict.fromkeys((*nameless, *(crl for place in places for crl in self._named.get(place, ())))))


class CrlStore:
    """CRLs, complete and delta, by the name of their issuer.

    `signers` maps the SHA-256 of a CRL to the key (`Certificate.plain_spki_sha256`) that is said to have signed it.
    It narrows what is looked at and proves nothing: a wrong key makes the CRL useless, never trusted.
    `memory` is the room of `authz.pki.cache.plans` and `.assurances`. It belongs to the store because what stands in
    it is undone by any other CRL, and holds CRLs, which must not outlive the store.
    """

    def __init__(self, crls: Iterable[Crl] = (), signers: Mapping[bytes, bytes] | None = None) -> None:
        self.memory = SharedCache(MAX_REMEMBERED)
        signers = signers or {}
        self._crls: dict[bytes, Crl] = {}
        self._by_issuer: dict[Name, CrlsByIssuer] = {}
        for crl in crls:
            self._add(crl, signers.get(crl.sha256))

    def _add(self, crl: Crl, signer_spki_sha256: bytes | None = None) -> None:
        if crl.sha256 not in self._crls:
            self._crls[crl.sha256] = crl
            self._by_issuer.setdefault(crl.issuer, CrlsByIssuer()).add(crl, signer_spki_sha256)

    @property
    def issuers(self) -> Collection[Name]:
        """The names under which there are CRLs."""
        return self._by_issuer.keys()

    def under(self, issuer: Name) -> CrlsByIssuer | None:
        """The CRLs of that issuer name, or None without any."""
        return self._by_issuer.get(issuer)

    def __iter__(self) -> Iterator[Crl]:
        return iter(self._crls.values())

    def __len__(self) -> int:
        return len(self._crls)


class LazyCrlStore(CrlStore):
    """A store whose CRLs are read by `read` when their issuer is first asked for; `issuers` are all that have any.

    For one validation among many CRLs: of ten thousand CAs' it reads those of one path. `crls` are in it at once.
    """

    def __init__(
        self, issuers: Iterable[Name], read: Callable[[Name], Iterable[Crl]], crls: Iterable[Crl] = ()
    ) -> None:
        super().__init__(crls)
        self._unread = set(issuers)
        self._read = read

    @property
    def issuers(self) -> Collection[Name]:
        """The names under which there are CRLs."""
        return self._by_issuer.keys() | self._unread

    def under(self, issuer: Name) -> CrlsByIssuer | None:
        """The CRLs of that issuer name, or None without any."""
        if issuer in self._unread:
            self._unread.remove(issuer)
            for crl in self._read(issuer):
                self._add(crl)
        return super().under(issuer)

    def _read_all(self) -> None:
        for issuer in tuple(self._unread):
            self.under(issuer)

    def __iter__(self) -> Iterator[Crl]:
        self._read_all()
        return super().__iter__()

    def __len__(self) -> int:
        self._read_all()
        return super().__len__()
