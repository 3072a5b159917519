"""Trust anchor information (RFC 5280 section 6.1.1 (d)), with the operator's constraints on it (RFC 5937)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

    from authz.pki.x509.certificate import Certificate


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
