"""Outside text is made harmless before it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.text import header_value, shown


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("alice", "alice"),
        ("Zoë", "Zoë"),
        ("a\x1b[31mb", r"a\u001b[31mb"),
        ("a\nb", r"a\u000ab"),
        ("a\u202eb", r"a\u202eb"),
        ("\u200b", r"\u200b"),
    ],
)
def test_shown_text_has_its_controls_escaped(text: str, safe: str) -> None:
    """Terminal controls, line ends and bidirectional marks lose their power."""
    assert shown(text) == safe


@given(st.text())
def test_shown_text_is_printable_and_bounded(text: str) -> None:
    """Whatever comes, one bounded printable line leaves."""
    safe = shown(text, 20)
    assert safe.isprintable()
    assert len(safe) <= 20 * 6


@pytest.mark.parametrize(
    ("text", "value"),
    [("alice", "alice"), ("a b", "a b"), ("50%", "50%25"), ("Zoë", "Zo%C3%AB"), ("a\r\nx: y", "a%0D%0Ax: y")],
)
def test_header_value_cannot_split_a_header(text: str, value: str) -> None:
    """Line ends and what is not ASCII are per cent encoded, and so is the sign itself."""
    assert header_value(text) == value
