"""JSON objects that every reader reads alike."""

from __future__ import annotations

import pytest

from authz.identity.strict_json import read_object


def test_object_is_read() -> None:
    """With objects and lists inside."""
    assert read_object(b'{"a": {"b": [1, "x", null]}}') == {"a": {"b": [1, "x", None]}}


def test_character_in_two_escapes_is_read() -> None:
    """Half of one is an error; an escaped backslash before `u` begins no escape."""
    assert read_object(rb'{"a": "\ud83d\ude00 \\ud800"}') == {"a": "\U0001f600 \\ud800"}


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b'{"a":NaN}', b'{"a":-Infinity}', b"[]", b"1", b"", b"{} {}",
        b'{"a":"\xff"}', b"\xef\xbb\xbf{}", b"[" * 100_000,
        rb'{"a":"\ud800"}', rb'{"a":["\uDC00\ud83d"]}', rb'{"\udfff":1}',
    ],
)  # fmt: skip
def test_ambiguous_json_is_an_error(data: bytes) -> None:
    """Repeated names at any depth, constants, other values, anything after the object, other encodings, deep nests."""
    with pytest.raises(ValueError, match=r"."):
        read_object(data)
