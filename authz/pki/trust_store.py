"""What an organization trusts, and what it merely knows: anchors, and intermediates that still must verify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from authz.errors import Refused
from authz.pki.certificate import Certificate
from authz.pki.memo import Memo
from authz.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

    from authz.pki.names import Name


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


class TrustStore:
    """Anchors and intermediates by subject, with the memo of what verified under them before.

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
        self.anchors_by_subject: dict[Name, list[TrustAnchor]] = {}
        self.known_by_subject: dict[Name, list[Certificate]] = {}
        self.anchor_ders = frozenset(one.certificate.der for one in self.anchors)
        self._known: dict[bytes, Certificate] = {one.certificate.der: one.certificate for one in self.anchors}
        for anchor in self.anchors:
            self.anchors_by_subject.setdefault(anchor.certificate.subject, []).append(anchor)
        for one in {one.der: one for one in intermediates}.values():
            if one.der not in self.anchor_ders:
                self.known_by_subject.setdefault(one.subject, []).append(one)
                self._known[one.der] = one

    def parse(self, der: bytes) -> Certificate:
        """The certificate that `der` is, read already if it is ours or was on a verified path before.

        Raises `Refused` (certificate_malformed).
        """
        return self._known.get(der) or self.memo.certificate(der)

    def knows(self, der: bytes) -> bool:
        """Whether the certificate is an anchor or intermediate of ours."""
        return der in self._known
