"""The inputs of one validation."""

from __future__ import annotations

import pytest
from support.certificates import NOW

from authz.pki import DEFAULT_POLICY, Budget
from authz.pki.context import Validation


def test_validation_cannot_be_changed() -> None:
    """Every certificate and every CRL of a path is looked at with the same inputs."""
    validation = Validation(NOW, DEFAULT_POLICY, Budget(), None)
    assert validation.mode_of is None
    with pytest.raises(AttributeError):
        validation.at = NOW  # type: ignore[misc]
