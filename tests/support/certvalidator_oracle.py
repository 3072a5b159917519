"""pyhanko-certvalidator: another reading of RFC 5280 sections 6.1 and 6.3, as the oracle for paths with their CRLs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from asn1crypto.x509 import Certificate, KeyPurposeId
from cryptography.exceptions import InvalidSignature
from pyhanko_certvalidator import CertificateValidator, PKIXValidationParams, ValidationContext
from pyhanko_certvalidator.errors import InvalidCertificateError
from pyhanko_certvalidator.policy_decl import (
    NO_REVOCATION,
    CertRevTrustPolicy,
    RevocationCheckingPolicy,
    RevocationCheckingRule,
)
from pyhanko_certvalidator.sig_validate import DefaultSignatureValidator
from pyhanko_certvalidator.validate import validate_usage

from authz.pki import ValidationPolicy
from authz.pki.x509.extensions import ANY_POLICY

_CRLS_REQUIRED = RevocationCheckingPolicy(RevocationCheckingRule.CRL_REQUIRED, RevocationCheckingRule.CRL_REQUIRED)
_BITS = {"digitalSignature": "digital_signature", "keyAgreement": "key_agreement"}


class _Signatures(DefaultSignatureValidator):
    """Under a key of another kind than the signature's it asserts, where it should look at the next key."""

    def validate_signature(self, *arguments: object, **named: object) -> None:
        """Raises `InvalidSignature`."""
        try:
            super().validate_signature(*arguments, **named)
        except AssertionError:
            raise InvalidSignature from None


def verdict(
    leaf: bytes,
    pool: Iterable[bytes],
    anchors: Iterable[bytes],
    crls: Iterable[bytes] | None,
    at: datetime,
    policy: ValidationPolicy,
) -> str | None:
    """Empty where it accepts, else the kind of error and its text; None where it has no opinion.

    It does not implement name constraints of IP addresses. `crls` None leaves revocation out. It knows no
    `max_path_length`, and no algorithms but by their digest.
    """
    try:
        asyncio.run(_validate(leaf, pool, anchors, crls, at, policy))
    except NotImplementedError:
        return None
    except Exception as error:  # noqa: BLE001 - a parser that fails on something has not accepted it
        return f"{type(error).__name__}: {error}"
    return ""


async def _validate(
    leaf: bytes,
    pool: Iterable[bytes],
    anchors: Iterable[bytes],
    crls: Iterable[bytes] | None,
    at: datetime,
    policy: ValidationPolicy,
) -> None:
    end_entity = Certificate.load(leaf, strict=True)
    context = ValidationContext(
        trust_roots=[Certificate.load(der, strict=True) for der in anchors],
        other_certs=_readable(pool),
        moment=at,
        crls=list(crls or ()),
        revinfo_policy=CertRevTrustPolicy(NO_REVOCATION if crls is None else _CRLS_REQUIRED),
        time_tolerance=timedelta(0),
        signature_validator=_Signatures(),
    )
    parameters = PKIXValidationParams(
        user_initial_policy_set=frozenset(
            "any_policy" if policy == ANY_POLICY else policy for policy in policy.initial_policy_set
        ),
        initial_policy_mapping_inhibit=policy.inhibit_policy_mapping,
        initial_explicit_policy=policy.require_explicit_policy,
        initial_any_policy_inhibit=policy.inhibit_any_policy,
    )
    await CertificateValidator(end_entity, (), context, parameters).async_validate_path()
    if policy.extended_key_usage is not None:
        _check_usage(end_entity, policy)


def _readable(pool: Iterable[bytes]) -> list[Certificate]:
    """What it can read of the pool: any other certificate would end the whole search."""
    certificates = []
    for der in pool:
        try:
            certificate = Certificate.load(der, strict=True)
            certificate.native  # noqa: B018 - it reads late
        except Exception:  # noqa: BLE001, S112
            continue
        certificates.append(certificate)
    return certificates


def _check_usage(leaf: Certificate, policy: ValidationPolicy) -> None:
    """The purpose, and one of the bits of key usage. Raises `InvalidCertificateError`.

    Without a key usage every bit counts as set (section 4.2.1.3), which it leaves to its caller.
    """
    purpose = KeyPurposeId.map(str(policy.extended_key_usage))
    optional = not policy.require_extended_key_usage
    failure: InvalidCertificateError | None = None
    wanted = sorted(policy.key_usage) if leaf.key_usage_value is not None else []
    for bits in [{_BITS[bit]} for bit in wanted] or [set()]:
        try:
            validate_usage(leaf, bits, {purpose}, optional)
        except InvalidCertificateError as error:
            failure = error
        else:
            return
    assert failure is not None
    raise failure
