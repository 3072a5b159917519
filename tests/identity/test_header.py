"""The user name in a header of a trusted filter: exactly one clean value, tied to the organization."""

from __future__ import annotations

import pytest
from support.certificates import NOW

from authz.errors import Refused
from authz.identity.header import UserNameHeader
from authz.model import CheckRequest, Identity, Organization
from authz.reasons import Reason

NAME, TIED = UserNameHeader("x-user"), UserNameHeader("x-user", "x-org")
MISSING, AMBIGUOUS, MALFORMED = Reason.IDENTITY_MISSING, Reason.IDENTITY_AMBIGUOUS, Reason.IDENTITY_MALFORMED


def outcome(source: UserNameHeader, *headers: tuple[bytes, bytes]) -> Identity | Reason:
    """The identity, or the reason of the refusal."""
    try:
        return source.identify(CheckRequest("", "", headers), Organization(1, "acme", ()), NOW)
    except Refused as refused:
        return refused.reason


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([b"alice"], Identity("alice")),
        (["Zoë".encode()], Identity("Zoë")),
        ([], MISSING),
        ([b""], MISSING),
        ([b"alice", b"alice"], AMBIGUOUS),
        ([b"alice,bob"], AMBIGUOUS),
        ([b"\xff"], MALFORMED),
        ([b"a\tb"], MALFORMED),
        ([b" alice"], MALFORMED),
        ([b"a" * 256], MALFORMED),
    ],
)
def test_user_name_is_one_clean_value(values: list[bytes], expected: Identity | Reason) -> None:
    """Nothing is trimmed, folded or guessed."""
    assert outcome(NAME, *((b"x-user", value) for value in values)) == expected


@pytest.mark.parametrize("twin", [b"x_user"])
def test_user_name_with_an_underscore_twin_is_ambiguous(twin: bytes) -> None:
    """Beside the header or in its place."""
    assert outcome(NAME, (b"x-user", b"alice"), (twin, b"root")) is AMBIGUOUS
    assert outcome(NAME, (twin, b"root")) is AMBIGUOUS


@pytest.mark.parametrize(
    ("organization", "expected"),
    [
        ([b"acme"], Identity("alice")),
        ([b"Acme"], Reason.IDENTITY_OF_ANOTHER_ORGANIZATION),
        ([], MISSING),
        ([b"acme", b"acme"], AMBIGUOUS),
    ],
)
def test_user_name_is_tied_by_the_organization_header(organization: list[bytes], expected: Identity | Reason) -> None:
    """The organization's name, byte for byte."""
    assert outcome(TIED, (b"x-user", b"alice"), *((b"x-org", value) for value in organization)) == expected
