"""What an organization trusts, and what it merely knows: anchors, and intermediates that still must verify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.cache.verified import Memo
from authz.pki.x509.certificate import Certificate
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography import x509

    from authz.pki.x509.distinguished_name import Name


@dataclass(frozen=True, slots=True)
class TrustAnchor:
    """A certificate the operator trusts, narrowed if wished by constraints of the operator's own.

    What the certificate itself says (validity, basic constraints, key usage, name constraints) holds
    as well: an anchor that has expired, or forbids a name, anchors nothing for it.
    """

    certificate: Certificate
    permitted: tuple[x509.GeneralName, ...] = ()
    excluded: tuple[x509.GeneralName, ...] = ()
    path_length: int | None = None


Candidate = tuple[Certificate, TrustAnchor | None]
"""A certificate that may issue another one, and the anchor that it is, if it is one."""


class TrustStore:
    """Anchors and intermediates by subject, with the memo of what verified under them before.

    `known` holds both by their DER. `mark` stands for this set in what is remembered about it.

    Raises `Refused` (trust_anchors_missing) when there is no anchor: emptiness trusts nobody.
    """

    def __init__(
        self,
        anchors: Iterable[TrustAnchor | Certificate],
        intermediates: Iterable[Certificate] = (),
        memo: Memo | None = None,
    ) -> None:
        self.anchors = tuple(one if isinstance(one, TrustAnchor) else TrustAnchor(one) for one in anchors)
        if not self.anchors:
            raise Refused(Reason.TRUST_ANCHORS_MISSING)
        self.memo = Memo() if memo is None else memo
        self.known: dict[bytes, Certificate] = {}
        self.mark = object()
        self._by_subject: dict[Name, list[Candidate]] = {}
        for anchor in self.anchors:
            self._add(anchor.certificate, anchor)
        for one in intermediates:
            if one.der not in self.known:
                self._add(one, None)

    def _add(self, certificate: Certificate, anchor: TrustAnchor | None) -> None:
        self.known[certificate.der] = certificate
        self._by_subject.setdefault(certificate.subject, []).append((certificate, anchor))

    def named(self, subject: Name) -> Sequence[Candidate]:
        """The certificates of that name, anchors first."""
        return self._by_subject.get(subject, ())

    def parse(self, der: bytes) -> Certificate:
        """The certificate that `der` is, read already if it is ours or was on a verified path before.

        Raises `Refused` (certificate_malformed).
        """
        return self.known.get(der) or self.memo.certificate(der)

    def knows(self, der: bytes) -> bool:
        """Whether the certificate is an anchor or intermediate of ours."""
        return der in self.known
