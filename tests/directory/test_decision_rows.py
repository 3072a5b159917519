"""Decisions of the history, to and from their rows: whose room a row takes, and which rows are one."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from support.certificates import NOW

from authz.directory import Store
from authz.directory.decision_rows import WEIGHT_BYTES, Filter, account_of, kind_of, pack, row_of, unpack, weight_of
from authz.directory.schema import decisions
from authz.model import Outcome, RecordedDecision

STRANGERS = RecordedDecision(
    decision_id="a" * 32, at=NOW, listener="envoy", outcome=Outcome.DENIED, reason="user_unknown"
)


@given(st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=300)), max_size=5))
def test_packed_headers_come_back_as_they_were(headers: list[tuple[bytes, bytes]]) -> None:
    """Whatever bytes are in them."""
    assert unpack(pack(headers)) == tuple(headers)


def test_room_is_a_users_only_once_the_user_is_known() -> None:
    """Before, a stranger who writes a user's name would take the user's room."""
    claimed = replace(STRANGERS, user="alice")
    assert account_of(claimed) == "user_unknown"
    assert account_of(replace(claimed, proven=True)) == "alice"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"target": "/other", "host": "other.test", "detail": "other"}, True),
        ({"at": NOW + timedelta(days=1)}, False),
        ({"listener": "nginx"}, False),
        ({"reason": "identity_missing"}, False),
        ({"organization_id": 7}, False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_decisions_without_identity_are_one_row_a_day(change: dict[str, object], *, same: bool) -> None:
    """Nothing that a stranger chooses makes another row."""
    assert (kind_of(replace(STRANGERS, **change)) == kind_of(STRANGERS)) is same  # type: ignore[arg-type]


def test_decision_about_a_user_is_a_row_of_its_own() -> None:
    """Each misuse is kept."""
    assert kind_of(replace(STRANGERS, user="alice")) is None


def test_weight_counts_bytes_and_not_characters() -> None:
    """Of texts and headers together."""
    assert weight_of(STRANGERS) == 1
    assert weight_of(replace(STRANGERS, target="é" * (WEIGHT_BYTES // 2))) == 2
    assert weight_of(replace(STRANGERS, headers=((b"n", b"v" * (2 * WEIGHT_BYTES)),))) == 3


def test_list_goes_on_behind_a_decision(store: Store) -> None:
    """Of two at one moment, too; the newest first."""
    with store.transaction() as connection:
        for name in "abc":
            connection.execute(
                sa.insert(decisions).values(**row_of(replace(STRANGERS, decision_id=name)) | {"kind": None})
            )
    assert [[each.decision_id for each in store.decisions(Filter(after=after))] for after in (None, "c", "a")] == [
        ["c", "b", "a"],
        ["b", "a"],
        [],
    ]
