"""What is asked beyond RFC 5280's minimum, by default and by the service."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from cryptography import x509
from support.certificates import NOW, Authority

from authz.model import Algorithm, PathSettings
from authz.pki import verify_chain
from authz.pki.validation_policy import (
    CLIENT_AUTH,
    CRL_SIGNER_POLICY,
    DEFAULT_POLICY,
    SERVICE_POLICY,
    ValidationPolicy,
    service_policy,
)
from authz.pki.x509.algorithms import DEFAULT_ALGORITHMS

PAGE = Path(__file__).parents[2] / "docs" / "validation.md"


def test_service_demands_the_purpose_in_words() -> None:
    """The library's default lets a leaf be silent."""
    assert (DEFAULT_POLICY.extended_key_usage, DEFAULT_POLICY.require_extended_key_usage) == (CLIENT_AUTH, False)
    assert (SERVICE_POLICY.extended_key_usage, SERVICE_POLICY.require_extended_key_usage) == (CLIENT_AUTH, True)


def test_signer_of_crls_needs_no_purpose() -> None:
    """Its key usage is looked at where its CRL is."""
    assert CRL_SIGNER_POLICY.extended_key_usage is None


@pytest.mark.parametrize("purpose", [CLIENT_AUTH, x509.ObjectIdentifier(CLIENT_AUTH)])
def test_purpose_is_dotted_text_or_an_object_identifier(purpose: str | x509.ObjectIdentifier) -> None:
    """Both forms make the same policy, and accept the same leaf."""
    policy = ValidationPolicy(extended_key_usage=purpose)
    assert (policy, hash(policy)) == (DEFAULT_POLICY, hash(DEFAULT_POLICY))
    root = Authority.root()
    assert verify_chain(root.leaf().der, anchors=[root.der], at=NOW, policy=policy, check_revocation=False)
    assert dataclasses.replace(policy, extended_key_usage=None).extended_key_usage is None


@pytest.mark.parametrize(
    "purpose",
    [
        "",
        "clientAuth",
        "1",
        "9.9.9",
        " 1.2.3",
        "1.2.3\n",
        "1.2.3.",
        "01.2.3",
        "1.2.03",
        "+1.2.3",
        "1.2.-3",
        "\uff11.2.3",
    ],
)
def test_purpose_in_another_text_is_refused(purpose: str) -> None:
    """It would be found in no certificate, and the policy would refuse every leaf."""
    with pytest.raises(ValueError, match="extended_key_usage"):
        ValidationPolicy(extended_key_usage=purpose)


@pytest.mark.parametrize(
    "purpose", [b"1.2.3", 0, False, 1.2, ("1.2.3",), frozenset({CLIENT_AUTH}), x509.ExtendedKeyUsage]
)
def test_purpose_of_another_type_is_refused(purpose: object) -> None:
    """Several purposes at once, too."""
    with pytest.raises(TypeError, match="extended_key_usage"):
        ValidationPolicy(extended_key_usage=purpose)  # type: ignore[arg-type]


def test_policy_cannot_be_changed() -> None:
    """It is shared by every check."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULT_POLICY.require_explicit_policy = True  # type: ignore[misc]


def test_every_field_stands_in_the_documentation_in_its_order() -> None:
    """One row each."""
    table = PAGE.read_text(encoding="utf-8").partition("| field | default | meaning |")[2].partition("\n\n")[0]
    rows = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert rows == [field.name for field in dataclasses.fields(ValidationPolicy)]


def test_default_settings_are_the_service_policy_itself() -> None:
    """By identity, and so are rules of algorithms that are written out: checks know both by it."""
    assert service_policy(PathSettings()) is SERVICE_POLICY
    assert service_policy(PathSettings(inhibit_mapping=True)).algorithms is DEFAULT_ALGORITHMS
    written = (Algorithm.DEFAULT, Algorithm.RSA)
    assert service_policy(PathSettings(algorithms=written)) == SERVICE_POLICY


def test_settings_are_the_inputs_of_section_6_1_1() -> None:
    """The leaf must always name its purpose."""
    policy = service_policy(PathSettings((Algorithm.ED448,), 3072, ("1.2.3",), True, True, True, "1.2.3.4"))
    assert (policy.initial_policy_set, policy.require_explicit_policy) == ({"1.2.3"}, True)
    assert (policy.inhibit_policy_mapping, policy.inhibit_any_policy) == (True, True)
    assert (policy.extended_key_usage, policy.require_extended_key_usage) == ("1.2.3.4", True)
    assert (policy.algorithms.keys, policy.algorithms.min_rsa_bits) == ({"ed448"}, 3072)


@pytest.mark.parametrize(
    "settings",
    [
        PathSettings(purpose="2.5.29.37.0"),
        PathSettings(purpose="clientAuth"),
        PathSettings(policies=("1.2.3", "policy")),
        PathSettings(algorithms=()),
        PathSettings(algorithms=(Algorithm.SHA1,)),
        PathSettings(min_rsa_bits=1023),
        PathSettings(min_rsa_bits=8193),
    ],
)
def test_settings_that_make_no_policy_are_an_error(settings: PathSettings) -> None:
    """Each would accept nothing, or more than it says."""
    with pytest.raises(ValueError, match=r"purpose|dotted|keys"):
        service_policy(settings)
