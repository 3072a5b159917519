"""The binding rule, by the table of the design."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.certificates import NOW

from authz.binding import bind
from authz.model import BindingScope, Enforcement, Organization, Registration, User
from authz.reasons import Reason

LEAF, OTHER_LEAF = b"\x01" * 32, b"\x02" * 32
ORGANIZATION = Organization(1, "acme", ())
WIDE = Organization(1, "acme", (), binding_scope=BindingScope.ORGANIZATION)
ALICE = User(1, 1, "alice", Enforcement.REQUIRED)
BOBS = 2


def registered(user: int = 1, leaf: bytes = LEAF, organization: int = 1, **dates: object) -> Registration:
    """A registration of the leaf."""
    return Registration(7, organization, user, leaf, **dates)  # type: ignore[arg-type]


RETIRED = {"retired_at": NOW}
SCHEDULED = {"valid_from": NOW + timedelta(seconds=1)}


@pytest.mark.parametrize(
    ("leaf", "registrations", "refusal"),
    [
        (None, [registered()], Reason.CERTIFICATE_REQUIRED),
        (LEAF, [], Reason.CERTIFICATE_NOT_REGISTERED),
        (LEAF, [registered(leaf=OTHER_LEAF)], Reason.CERTIFICATE_NOT_REGISTERED),
        (LEAF, [registered(organization=2)], Reason.CERTIFICATE_NOT_REGISTERED),
        (LEAF, [registered(BOBS)], Reason.CERTIFICATE_OF_ANOTHER_USER),
        (LEAF, [registered(BOBS, **RETIRED)], Reason.CERTIFICATE_OF_ANOTHER_USER),
        (LEAF, [registered(**RETIRED)], Reason.CERTIFICATE_REGISTRATION_INACTIVE),
        (LEAF, [registered(**SCHEDULED)], Reason.CERTIFICATE_REGISTRATION_INACTIVE),
        (LEAF, [registered(BOBS), registered(**RETIRED)], Reason.CERTIFICATE_REGISTRATION_INACTIVE),
        (LEAF, [registered()], None),
        (LEAF, [registered(**RETIRED), registered()], None),
        (LEAF, [registered(BOBS), registered()], None),
    ],
)
def test_binding_by_user_gives_the_tables_answer(
    leaf: bytes | None, registrations: list[Registration], refusal: Reason | None
) -> None:
    """One active registration of the user's own is needed, and enough."""
    assert bind(ORGANIZATION, ALICE, leaf, registrations, NOW).refusal is refusal


@pytest.mark.parametrize(
    ("registrations", "refusal"),
    [
        ([registered(BOBS)], None),
        ([registered(BOBS, **RETIRED)], Reason.CERTIFICATE_REGISTRATION_INACTIVE),
        ([registered(BOBS, organization=2)], Reason.CERTIFICATE_NOT_REGISTERED),
        ([], Reason.CERTIFICATE_NOT_REGISTERED),
    ],
)
def test_binding_by_organization_takes_anybodys_registration(
    registrations: list[Registration], refusal: Reason | None
) -> None:
    """The model's own rule, and still never another organization's."""
    assert bind(WIDE, ALICE, LEAF, registrations, NOW).refusal is refusal


def test_binding_names_the_active_registration() -> None:
    """Of several, the one that counted."""
    active = registered()
    assert bind(ORGANIZATION, ALICE, LEAF, [registered(**RETIRED), active], NOW).registration is active
