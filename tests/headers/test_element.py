"""From the fields of one header element to the chain presented."""

from __future__ import annotations

import hashlib

import pytest

from authz.errors import Refused
from authz.headers.element import presented
from authz.model import HeaderRules
from authz.reasons import Reason

RULES = HeaderRules(max_certificates=3)
DIGEST = hashlib.sha256(b"leaf").hexdigest().encode()


@pytest.mark.parametrize(
    ("leaf", "chain"), [(b"leaf", []), (b"leaf", [b"leaf"]), (None, [b"leaf"]), (b"leaf", [b"leaf", b"leaf"])]
)
def test_leaf_is_stated_or_the_first_of_the_chain(leaf: bytes | None, chain: list[bytes]) -> None:
    """It is no intermediate, however often it is repeated; its digest may be stated."""
    found = presented(leaf, chain, RULES, digest=DIGEST)
    assert (found.leaf, found.intermediates) == (b"leaf", ())


def test_intermediates_keep_their_order_without_duplicates() -> None:
    """Duplicates do not count against the limit."""
    assert presented(b"a", [b"a", b"c", b"b", b"c"], RULES).intermediates == (b"c", b"b")


@pytest.mark.parametrize(
    ("leaf", "chain", "digest", "reason"),
    [
        (None, [], None, Reason.HEADER_WITHOUT_CERTIFICATE),
        (b"leaf", [b"other", b"leaf"], None, Reason.HEADER_MALFORMED),
        (b"leaf", [], DIGEST.upper(), Reason.HEADER_MALFORMED),
        (b"leaf", [], b"", Reason.HEADER_MALFORMED),
        (b"other", [], DIGEST, Reason.HEADER_HASH_MISMATCH),
        (b"leaf", [b"leaf", b"a", b"b", b"c"], None, Reason.TOO_MANY_CERTIFICATES),
    ],
)
def test_fields_that_disagree_are_refused(
    leaf: bytes | None, chain: list[bytes], digest: bytes | None, reason: Reason
) -> None:
    """No certificate, another leaf at the head of the chain, another form or value of the digest, too many in all."""
    with pytest.raises(Refused) as caught:
        presented(leaf, chain, RULES, digest=digest)
    assert caught.value.reason is reason
