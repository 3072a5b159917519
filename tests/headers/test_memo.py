"""The memo of decoded headers is bounded."""

from __future__ import annotations

from authz.headers import HeaderMemo, Selected
from authz.model import PresentedChain

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
