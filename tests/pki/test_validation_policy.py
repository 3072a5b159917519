"""What is asked beyond RFC 5280's minimum, by default and by the service."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from authz.pki.validation_policy import (
    CLIENT_AUTH,
    CRL_SIGNER_POLICY,
    DEFAULT_POLICY,
    SERVICE_POLICY,
    ValidationPolicy,
)

PAGE = Path(__file__).parents[2] / "docs" / "validation.md"


def test_service_demands_the_purpose_in_words() -> None:
    """The library's default lets a leaf be silent."""
    assert (DEFAULT_POLICY.extended_key_usage, DEFAULT_POLICY.require_extended_key_usage) == (CLIENT_AUTH, False)
    assert (SERVICE_POLICY.extended_key_usage, SERVICE_POLICY.require_extended_key_usage) == (CLIENT_AUTH, True)


def test_signer_of_crls_needs_no_purpose() -> None:
    """Its key usage is looked at where its CRL is."""
    assert CRL_SIGNER_POLICY.extended_key_usage is None


def test_policy_cannot_be_changed() -> None:
    """It is shared by every check."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT_POLICY.require_explicit_policy = True  # type: ignore[misc]


def test_every_field_stands_in_the_documentation_in_its_order() -> None:
    """One row each."""
    table = PAGE.read_text(encoding="utf-8").partition("| field | default | meaning |")[2].partition("\n\n")[0]
    rows = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert rows == [field.name for field in dataclasses.fields(ValidationPolicy)]
