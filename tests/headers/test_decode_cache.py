"""The cache of decoded headers is bounded in bytes, and what a flood brings drives out none of another tenant's."""

from __future__ import annotations

import tracemalloc

from support.certificates import Authority

from authz.headers import DecodeCache, Selected, decode, present
from authz.model import HeaderRules, PresentedChain
from authz.pki.cache import SharedCache

ROOT, EVIL = Authority.root(), Authority.root("Evil")
CA = ROOT.intermediate()
CHAIN = (PresentedChain(b"leaf"),)


def test_memo_keeps_what_was_put() -> None:
    """By the whole value, and the chain header's."""
    cache = DecodeCache()
    cache.put(Selected(b"a"), CHAIN)
    cache.put(Selected(b"a"), CHAIN)
    assert cache.get(Selected(b"a")) is CHAIN
    assert cache.get(Selected(b"a", b"b")) is None
    assert len(cache) == 1


def test_flood_of_headers_leaves_another_tenants() -> None:
    """However long they are."""
    whole = SharedCache(1_000_000)
    quiet, loud = whole.part(1, DecodeCache), whole.part(2, DecodeCache)
    quiet.put(Selected(b"a"), CHAIN)
    for number in range(100):
        loud.put(Selected(b"%d" % number * 30_000), CHAIN)
    assert quiet.get(Selected(b"a")) is CHAIN
    assert loud.get(Selected(b"0" * 30_000)) is None
    assert 10 < len(loud) < 40
    assert whole.weight <= whole.max_bytes


ALICE, BOB = CA.leaf("alice"), CA.leaf("bob")


def decoded(value: bytes, cache: DecodeCache) -> tuple[PresentedChain, ...]:
    """Decoded with what is remembered, not yet put there."""
    return decode(Selected(value), HeaderRules(), cache)


def test_certificates_above_a_leaf_are_decoded_once_for_all_clients() -> None:
    """From when on the path of the first was verified; what did not verify fills nothing."""
    cache = DecodeCache()
    first = present(ALICE.der, [CA.der, ROOT.der])
    decoded(first, cache)
    assert len(cache.intermediates) == 0
    cache.put(Selected(first), decoded(first, cache))
    assert len(cache.intermediates) == 1
    (chain,) = decoded(present(BOB.der, [CA.der, ROOT.der]), cache)
    assert (chain.leaf, chain.intermediates) == (BOB.der, (CA.der, ROOT.der))
    assert [*map(id, chain.intermediates)] == [*map(id, cache.get(Selected(first))[0].intermediates)]  # type: ignore[index]


def test_chain_with_duplicates_is_no_other_clients() -> None:
    """What is behind the leaf there is not what was left of it."""
    cache = DecodeCache()
    for others in ([CA.der, ALICE.der], [CA.der, CA.der], []):
        value = present(ALICE.der, others)
        cache.put(Selected(value), decoded(value, cache))
    assert len(cache.intermediates) == 0
    assert decoded(present(BOB.der, [CA.der, ALICE.der]), cache)[0].intermediates == (CA.der, ALICE.der)


def test_headers_weigh_what_they_take() -> None:
    """A leaf alone, with one that no other client has behind it, and with what all have."""
    leaves = [CA.leaf(f"leaf{number}") for number in range(60)]
    for others in ([], [[leaf.der] for leaf in leaves[::-1]], [[CA.der, ROOT.der]] * 60):
        values = [present(leaf.der, others[at] if others else []) for at, leaf in enumerate(leaves)]
        cache, whole = DecodeCache(), SharedCache()
        cache = whole.part(1, DecodeCache)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for value in values:
            selected = Selected(bytes(bytearray(value)))
            cache.put(selected, decode(selected, HeaderRules(), cache))
        taken = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        assert taken <= whole.weight <= 3 * taken
