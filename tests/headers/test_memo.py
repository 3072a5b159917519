"""The memo of decoded headers is bounded."""

from __future__ import annotations

from pki_factory import Authority

from authz.headers import HeaderMemo, Selected, decode, present
from authz.model import HeaderRules, PresentedChain

ROOT, EVIL = Authority.root(), Authority.root("Evil")
CA = ROOT.intermediate()
CHAIN = (PresentedChain(b"leaf"),)


def test_memo_keeps_what_was_put() -> None:
    """By the whole value, and the chain header's."""
    memo = HeaderMemo()
    memo.put(Selected(b"a"), CHAIN)
    memo.put(Selected(b"a"), CHAIN)
    assert memo.get(Selected(b"a")) is CHAIN
    assert memo.get(Selected(b"a", b"b")) is None
    assert len(memo) == 1


def test_memo_full_drops_the_oldest() -> None:
    """The bound is in octets, the value and what it decodes to."""
    memo = HeaderMemo(max_bytes=40)
    for value in (b"a" * 10, b"b" * 10, b"c" * 10):
        memo.put(Selected(value), CHAIN)
    assert memo.get(Selected(b"a" * 10)) is None
    assert memo.get(Selected(b"c" * 10)) is CHAIN
    assert len(memo) == 2


ALICE, BOB = CA.leaf("alice"), CA.leaf("bob")


def decoded(value: bytes, memo: HeaderMemo) -> tuple[PresentedChain, ...]:
    """Decoded with what is remembered, not yet put there."""
    return decode(Selected(value), HeaderRules(), memo)


def test_certificates_above_a_leaf_are_decoded_once_for_all_clients() -> None:
    """From when on the path of the first was verified; what did not verify fills nothing."""
    memo = HeaderMemo()
    first = present(ALICE.der, [CA.der, ROOT.der])
    decoded(first, memo)
    assert len(memo.above) == 0
    memo.put(Selected(first), decoded(first, memo))
    assert len(memo.above) == 1
    (chain,) = decoded(present(BOB.der, [CA.der, ROOT.der]), memo)
    assert (chain.leaf, chain.others) == (BOB.der, (CA.der, ROOT.der))
    assert [*map(id, chain.others)] == [*map(id, memo.get(Selected(first))[0].others)]  # type: ignore[index]


def test_chain_with_duplicates_is_no_other_clients() -> None:
    """What is behind the leaf there is not what was left of it."""
    memo = HeaderMemo()
    for others in ([CA.der, ALICE.der], [CA.der, CA.der], []):
        value = present(ALICE.der, others)
        memo.put(Selected(value), decoded(value, memo))
    assert len(memo.above) == 0
    assert decoded(present(BOB.der, [CA.der, ALICE.der]), memo)[0].others == (CA.der, ALICE.der)


def test_texts_above_leaves_are_bounded() -> None:
    """In octets, the text and what it decodes to; one that is too long is not kept."""
    memo = HeaderMemo(max_above=4_000)
    for other in (CA, ROOT, Authority.root("Other"), Authority.root("Another")):
        value = present(ALICE.der, [other.der])
        memo.put(Selected(value), decoded(value, memo))
    assert len(memo.above) == 3
    value = present(ALICE.der, [CA.der, ROOT.der, BOB.der, EVIL.der])
    memo.put(Selected(value), decoded(value, memo))
    assert len(memo.above) == 0
