"""An anchor is a certificate and what the operator adds to it."""

from __future__ import annotations

import dataclasses

import pytest
from support.certificates import Authority
from support.outcomes import parsed

from authz.pki.x509.trust_anchor import TrustAnchor


def test_anchor_of_a_certificate_alone_is_not_constrained_and_stays_so() -> None:
    """It is equal to any other of that certificate, and to none with a constraint."""
    certificate = parsed(Authority.root())[0]
    anchor = TrustAnchor(certificate)
    assert anchor == TrustAnchor(certificate, (), (), None) != TrustAnchor(certificate, path_length=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        anchor.path_length = 1  # type: ignore[misc]
